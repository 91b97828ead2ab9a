"""The plan: what an IR document means, as a frozen value that every engine renders and asks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fleetml.errors import InvalidParameter
from fleetml.frozen import field, frozen, replace
from fleetml.pipeline.definitions import interface
from fleetml.pipeline.expand import expand
from fleetml.pipeline.model import Decision, Group, Inputs, Outcome, Parameter, Source, Step
from fleetml.pipeline.order import Graph, with_edges
from fleetml.pipeline.sources import Run, resolve
from fleetml.pipeline.values import ABSENT, EXPECTED, cast, parse_parameter, shown


@frozen
class Plan:
    """A pipeline, expanded to leaf steps in topological order (the order of `steps`).

    `groups` are its sub-DAGs, an outer one before those in it. `digest` is the SHA-256 of the IR's
    canonical JSON. `outputs` are the pipeline's own outputs. `fold`: loops with a limit of parallelism stay one step until
    they are unfolded, as those do whose list only the run makes.
    """

    name: str
    digest: str
    inputs: Mapping[str, Parameter]
    steps: Mapping[str, Step]
    groups: Mapping[str, Group] = field(default_factory=dict)
    outputs: Mapping[str, Source] = field(default_factory=dict)
    document: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)
    fold: bool = False
    label: str = ""
    description: str = ""

    def unfold(self, items: Mapping[str, Sequence[Any]]) -> Plan:
        """Return the plan with the iterations of loops in their place, whose items the run has made.

        `items` holds by loop what `resolve` gave as its input `ITEMS` (of artifacts: the entries), for every loop
        unfolded so far. A step that is in both plans is the same in both.
        """
        made = expand(self.document, items, self.fold)
        steps = with_edges(made.steps, made.groups)
        return replace(self, inputs=made.inputs, steps=steps, groups=made.groups, outputs=made.outputs)

    def bind(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Return the run's parameters: checked, cast by declared type, defaults filled.

        A value of None counts as not given. Raises InvalidParameter naming the parameter (and the
        closest name for an unknown one).
        """
        for name in parameters:
            self.parameter(name)
        bound: dict[str, Any] = {}
        for name, definition in self.inputs.items():
            value = parameters.get(name)
            value = definition.default if value is None else self._cast(definition, value)
            if value is not ABSENT:
                bound[name] = value
            elif definition.required:
                raise InvalidParameter(
                    f"pipeline {self.name!r}: the parameter {name!r} ({EXPECTED[definition.type]}) has no default "
                    f"and was not given; give it, e.g. -p {name}=…"
                )
        return bound

    def parse(self, texts: Mapping[str, str]) -> dict[str, Any]:
        """Return parameters given as text (``-p name=text``), each parsed by its declared type.

        Raises InvalidParameter.
        """
        return {
            name: parse_parameter(text, self.parameter(name).type, self._place(name)) for name, text in texts.items()
        }

    def decide(self, step: str, bound: Mapping[str, Any], outcomes: Mapping[str, Outcome]) -> Decision:
        """Say whether `step` runs, once everything in its `upstream` is over.

        `outcomes` holds at least the steps of `reads`; one that is missing counts as pending. Raises
        InvalidPipeline for a condition that cannot be evaluated.
        """
        return Graph(self.steps, self.groups).decide(self.steps[step], Run(bound, outcomes, {}))

    def resolve(
        self, step: str, bound: Mapping[str, Any], outcomes: Mapping[str, Outcome], names: Mapping[str, str]
    ) -> Inputs:
        """Return the concrete inputs of a step that `decide` lets run; `names` as in `placeholders`.

        Raises InvalidPipeline where a value does not fit its declared type or a producer left none.
        """
        return resolve(self.steps[step], Run(bound, outcomes, names))

    def collected(self, loop: str, bound: Mapping[str, Any], outcomes: Mapping[str, Outcome]) -> dict[str, Any]:
        """Return the outcome of an unfolded loop as a whole, once its steps are over."""
        group, run = self.groups[loop], Run(bound, outcomes, {})
        states = {run.state(step) for step in group.steps}
        bad = next((state for state in ("failed", "upstream_failed", "cancelled", "pending") if state in states), "")
        return {
            "state": "failed" if bad == "upstream_failed" else bad or "succeeded",
            "cached": False,
            "parameters": {name: run.parameter(source) for name, source in group.parameters.items()},
            "artifacts": {name: run.artifacts(source) for name, source in group.artifacts.items()},
        }

    def resolve_outputs(self, bound: Mapping[str, Any], outcomes: Mapping[str, Outcome]) -> dict[str, Any]:
        """Return the pipeline's own outputs that exist: parameter values, or lists of artifact entries."""
        run = Run(bound, outcomes, {})
        found: dict[str, Any] = {}
        for name, source in self.outputs.items():
            value = run.parameter(source)
            if value is not ABSENT:
                found[name] = value
            elif entries := run.artifacts(source):
                found[name] = entries
        return found

    def published(self, bound: Mapping[str, Any], outcomes: Mapping[str, Outcome]) -> dict[str, Any]:
        """Return all of the pipeline's outputs as others may have them: a parameter's value; an artifact's URI and digest,
        a list of those for a list of artifacts; None for what a skipped step did not make.
        """
        if not self.outputs:
            return {}
        run = Run(bound, outcomes, {})
        declared = interface(self.document["root"], "root.outputDefinitions")
        found: dict[str, Any] = {}
        for name, source in self.outputs.items():
            if artifact := declared.output_artifacts.get(name):
                entries = [{"uri": entry["uri"], "digest": entry["digest"]} for entry in run.artifacts(source)]
                found[name] = entries if artifact.many else next(iter(entries), None)
            else:
                value = run.parameter(source)
                found[name] = None if value is ABSENT else value
        return found

    def parameter(self, name: str) -> Parameter:
        """Return the definition of an input. Raises InvalidParameter with the closest name for an unknown one."""
        if name in self.inputs:
            return self.inputs[name]
        import difflib  # here, as most names are right

        close = difflib.get_close_matches(name, self.inputs, 1)
        hint = f"did you mean {close[0]!r}?" if close else f"it has {', '.join(sorted(self.inputs)) or 'none'}"
        raise InvalidParameter(f"pipeline {self.name!r} has no parameter {name!r}; {hint}")

    def _cast(self, definition: Parameter, value: Any) -> Any:
        value = cast(value, definition.type, self._place(definition.name))
        if definition.literals and value not in definition.literals:
            allowed = ", ".join(map(shown, definition.literals))
            raise InvalidParameter(f"{self._place(definition.name)} must be one of {allowed}, got {shown(value)}")
        return value

    def _place(self, name: str) -> str:
        return f"pipeline {self.name!r}: parameter {name!r}"
