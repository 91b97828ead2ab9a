"""Following a source to its value in one run: from the run's parameters and the outcomes of its steps."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from fleetml.errors import InvalidParameter, InvalidPipeline
from fleetml.frozen import replace
from fleetml.pipeline import placeholders, platform
from fleetml.pipeline.model import (
    Absent,
    Collected,
    Constant,
    FinalStatus,
    Inputs,
    Item,
    OneOf,
    Outcome,
    Parameter,
    PipelineInput,
    Resources,
    Selected,
    Source,
    Step,
    StepOutput,
    Template,
)
from fleetml.pipeline.values import ABSENT, as_text, cast, shown

FAILED = {"failed", "upstream_failed", "cancelled"}


class Run:
    """What is known of one run at one moment: bound parameters, outcomes by step, the run's names for placeholders."""

    def __init__(self, bound: Mapping[str, Any], outcomes: Mapping[str, Outcome], names: Mapping[str, str]) -> None:
        self.bound = bound
        self.outcomes = outcomes
        self.names = names
        self.groups: dict[str, str] = {}  # states of sub-DAGs that were asked for

    def state(self, step: str) -> str:
        return str(self.outcomes.get(step, {}).get("state", "pending"))

    def parameter(self, source: Source) -> Any:
        """Return the value of a parameter, or `ABSENT`."""
        match source:
            case Constant(value):
                return value
            case PipelineInput(name, default):
                return self.bound.get(name, default)
            case StepOutput():
                return self._output(source, "parameters")
            case Selected(inner, key):
                return self._entry(inner, key)
            case Template(value, inputs):
                known = {name: self.parameter(inner) for name, inner in inputs.items()}
                return placeholders.fill(value, known, self.names)
            case OneOf(sources):
                return next((v for v in map(self.parameter, sources) if v is not ABSENT), ABSENT)
            case Collected(sources):
                return [value for value in map(self.parameter, sources) if value is not ABSENT]
            case FinalStatus(task, steps):
                return self._final_status(task, steps)
            case Item() | Absent():
                return ABSENT

    def artifacts(self, source: Source) -> list[dict[str, Any]]:
        """Return the entries of an artifact: name, type, uri, digest, metadata; none if there is none."""
        match source:
            case StepOutput():
                found = self._output(source, "artifacts")
                return [] if found is ABSENT else list(found)
            case OneOf(sources):
                return next((found for found in map(self.artifacts, sources) if found), [])
            case Collected(sources):
                return [entry for source in sources for entry in self.artifacts(source)]
            case Item(inner, index):
                return self.artifacts(inner)[index : index + 1]
        return []

    def typed(self, source: Source, kind: str, place: str) -> Any:
        """Return a parameter's value as the declared type, or `ABSENT`. Raises InvalidPipeline."""
        value = self.parameter(source)
        if value is ABSENT or not kind:
            return value
        if kind == "STRING":  # an entry of a struct or a constant, whose type nothing tells: a cluster does so too
            value = as_text(value)
        try:
            return cast(value, kind, place)
        except InvalidParameter as error:
            raise InvalidPipeline(f"{error}; mend the step that makes it") from None

    def _final_status(self, task: str, steps: tuple[str, ...]) -> dict[str, Any]:
        """Return what KFP tells an exit handler (protobuf PipelineTaskFinalStatus in its JSON form)."""
        states = {step: self.state(step) for step in steps}
        bad = [f"{step} {state}" for step, state in states.items() if state in ("failed", "cancelled")]
        return {
            "state": _final(set(states.values())),
            "error": {"code": 2, "message": ", ".join(bad)} if bad else {},
            "pipelineJobResourceName": self.names.get("pipeline_job_resource_name", ""),
            "pipelineTaskName": task.rsplit("/", 1)[-1],
        }

    def _output(self, source: StepOutput, what: str) -> Any:
        if self.state(source.step) != "succeeded":
            return ABSENT
        value = self.outcomes[source.step].get(what, {}).get(source.output)
        return ABSENT if value is None else value

    def _entry(self, inner: Source, key: str) -> Any:
        value = self.parameter(inner)
        if value is ABSENT:
            return ABSENT
        if isinstance(value, str):
            with contextlib.suppress(ValueError, RecursionError):
                value = json.loads(value)
        if not isinstance(value, Mapping) or key not in value:
            raise InvalidPipeline(
                f"the entry {key!r} is picked from {shown(value)}, which has none; mend the step that makes it"
            )
        return value[key]


def _final(states: set[str]) -> str:
    """Return KFP's word (PipelineTaskDetail.State) for a task whose steps ended so."""
    if states & {"failed", "upstream_failed"}:
        return "FAILED"
    if "cancelled" in states:
        return "CANCELED"
    return "SKIPPED" if states == {"skipped"} else "SUCCEEDED"


def resolve(step: Step, run: Run) -> Inputs:
    """Return the concrete inputs of a step. Raises InvalidPipeline where a value is missing or does not fit."""
    parameters: dict[str, Any] = {}
    for name, definition in step.input_parameters.items():
        value = _checked(definition, run.typed(step.parameters[name], definition.type, _place(step, name)), step)
        if value is not ABSENT:
            parameters[name] = value
    artifacts: dict[str, list[dict[str, Any]]] = {}
    for name, artifact in step.input_artifacts.items():
        entries = run.artifacts(step.artifacts[name])
        if entries or _empty_list(step, name):
            artifacts[name] = entries
        elif not artifact.optional:
            raise InvalidPipeline(
                f"{_place(step, name)} has no artifact: its producer left none; make the input optional"
            )
    settings = platform.filled(step.platform, run.parameter, f"step {step.name!r}")
    return Inputs(parameters, artifacts, _resources(step, run), settings)


def missing(step: Step, run: Run) -> str:
    """Return the required input whose producer was skipped, or ""."""
    for name, definition in step.input_parameters.items():
        if definition.required and run.parameter(step.parameters[name]) is ABSENT:
            return name
    for name, artifact in step.input_artifacts.items():
        if not artifact.optional and not run.artifacts(step.artifacts[name]) and not _empty_list(step, name):
            return name
    return ""


def _empty_list(step: Step, name: str) -> bool:
    """A list may be empty: the loop had no items, or none of its iterations left one."""
    return step.input_artifacts[name].many and isinstance(step.artifacts[name], Collected)


def producers(sources: Iterable[Source]) -> Iterator[str]:
    """Yield the steps that the sources read, in order of appearance."""
    for source in sources:
        match source:
            case StepOutput(step, _):
                yield step
            case Selected(inner, _):
                yield from producers([inner])
            case Template(_, inputs):
                yield from producers(inputs.values())
            case OneOf(inner_sources) | Collected(inner_sources):
                yield from producers(inner_sources)
            case Item(inner, _):
                yield from producers([inner])
            case FinalStatus(_, steps):
                yield from steps


def _checked(definition: Parameter, value: Any, step: Step) -> Any:
    if value is ABSENT:
        if definition.required:
            raise InvalidPipeline(
                f"{_place(step, definition.name)} has no value: its producer left none; make the input optional"
            )
        return definition.default
    if definition.literals and value not in definition.literals:
        raise InvalidPipeline(
            f"{_place(step, definition.name)} must be one of {list(definition.literals)}, got {shown(value)}"
        )
    return value


def _resources(step: Step, run: Run) -> Resources:
    known = {name: run.parameter(source) for name, source in step.resource_inputs.items()}
    asked = step.container.resources
    texts = {name: as_text(placeholders.fill(text, known, run.names)) for name, text in vars(asked).items()}
    return replace(asked, **texts)


def _place(step: Step, name: str) -> str:
    return f"step {step.name!r}: input {name!r}"
