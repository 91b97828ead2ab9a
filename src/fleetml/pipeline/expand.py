"""Static expansion: the nested DAGs of an IR become flat steps whose sources point at other steps.

A value that an outer DAG hands to an inner one is followed to where it comes from, so a step knows its
producers directly; what the nesting means for order, conditions and failure stays in the groups.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any

from fleetml.errors import InvalidPipeline, UnsupportedConstruct
from fleetml.frozen import frozen, replace
from fleetml.pipeline import definitions, leaf, loops, platform
from fleetml.pipeline.definitions import Interface
from fleetml.pipeline.model import (
    ArtifactDefinition,
    FinalStatus,
    Group,
    Parameter,
    PipelineInput,
    Retry,
    Source,
    Step,
)
from fleetml.pipeline.tasks import STRATEGIES, TaskSpec, before, ordered, strategy
from fleetml.pipeline.wiring import Ports, Typed, dag_inputs, dag_outputs, guard, named, task_inputs

MOST_TASKS = 50_000  # steps, sub-DAGs and iterations; a second for every few thousand of them


@frozen
class Expansion:
    """The leaves and sub-DAGs of a document in topological order, and the pipeline's own inputs and outputs."""

    inputs: Mapping[str, Parameter]
    steps: dict[str, Step]
    groups: dict[str, Group]
    outputs: dict[str, Source]


def expand(document: Mapping[str, Any], known: Mapping[str, Sequence[Any]], fold: bool = False) -> Expansion:
    """Return the expansion of a document that `ir.check` let pass; `known` are the items of loops, as far as the run
    has made them. With `fold`, loops with a limit of parallelism are left as they are until they are in `known`.

    Raises InvalidPipeline or UnsupportedConstruct.
    """
    root = document["root"]
    declared = definitions.interface(root, "root.inputDefinitions")
    walk = _Walk(document, known, fold)
    uris, artifacts = walk.brought(declared.input_artifacts, root["dag"].get("tasks", {}))
    given = Ports({n: Typed(PipelineInput(n), p.type) for n, p in declared.input_parameters.items()}, artifacts)
    made = walk.dag(root, declared, given, "root", ())
    outputs = {n: t.source for n, t in (*made.parameters.items(), *made.artifacts.items())}
    return Expansion({**declared.input_parameters, **uris}, walk.steps, walk.groups, outputs)


class _Walk:
    """One walk over a document's DAGs, collecting steps and groups."""

    def __init__(self, document: Mapping[str, Any], known: Mapping[str, Sequence[Any]], fold: bool) -> None:
        self.known, self.fold = known, fold
        self.components = document.get("components", {})
        self.executors = document.get("deploymentSpec", {}).get("executors", {})
        self.settings = platform.executors(document)
        self.steps: dict[str, Step] = {}
        self.groups: dict[str, Group] = {}
        self.inside: list[str] = []
        self.loops = 0  # around the DAG that is being expanded
        self.retries: list[Retry] = []  # of the sub-DAGs around it, innermost last

    def brought(
        self, artifacts: Mapping[str, ArtifactDefinition], tasks: Iterable[str]
    ) -> tuple[dict[str, Parameter], dict[str, Typed]]:
        """Add the steps that bring in the artifacts a whole pipeline is given; return the parameters that hold their URIs."""
        uris: dict[str, Parameter] = {}
        made: dict[str, Typed] = {}
        for name, artifact in artifacts.items():
            place, step = f"root.inputDefinitions.artifacts.{name}", leaf.bringing_in(name, artifact)
            if artifact.many or step.name in tasks:
                what = (
                    "a list of artifacts as input of a whole pipeline"
                    if artifact.many
                    else f"a task named {step.name!r}"
                )
                raise UnsupportedConstruct(f"{place}: {what} is not run; bring it in with dsl.importer")
            self.steps[step.name], uris[name] = step, step.input_parameters[name]
            made[name] = leaf.outputs(step).artifacts[name]
        return uris, made

    def dag(
        self,
        component: Mapping[str, Any],
        declared: Interface,
        given: Ports,
        place: str,
        group: tuple[str, ...],
    ) -> Ports:
        """Expand one DAG; return its outputs."""
        tasks = component["dag"].get("tasks", {})
        if not tasks:
            raise InvalidPipeline(f"{place}.dag: a DAG must hold at least one task; compile again")
        earlier = {
            name: before(task, self.asked(task), tasks, f"{place}.dag.tasks.{name}") for name, task in tasks.items()
        }
        made: dict[str, Ports] = {}
        for name in ordered(earlier, f"{place}.dag.tasks"):
            at = f"{place}.dag.tasks.{name}"
            ports = self.task(name, tasks[name], given, made, earlier[name], at, group)
            full = f"{group[-1]}/{name}" if group else name
            leaves = self.groups[full].steps if full in self.groups else (full,)
            made[name] = replace(ports, status=FinalStatus(full, leaves))
        at = f"{place}.dag.outputs"
        return dag_outputs(component["dag"].get("outputs", {}), declared, made, at, in_loop=self.loops > 0)

    def task(
        self,
        name: str,
        spec: Mapping[str, Any],
        given: Ports,
        made: Mapping[str, Ports],
        earlier: Iterable[str],
        place: str,
        group: tuple[str, ...],
    ) -> Ports:
        """Expand one task, a leaf or a sub-DAG; return its outputs."""
        if (
            len(self.steps) + len(self.groups) >= MOST_TASKS
        ):  # sub-DAGs that each hold another one twice double every time
            raise InvalidPipeline(
                f"{place}: a pipeline is at most {MOST_TASKS:,} tasks once its sub-DAGs and loops are written out, this one "
                "is more; loop over fewer items, or let it start other pipelines"
            )
        called = spec.get("componentRef", {}).get("name", "")
        component = named(called, self.components, f"{place}.componentRef.name", "component")
        declared = definitions.interface(component, f"components.{called}")
        over = loops.iterator(spec, place)
        _require_body(component, called, over, place)
        ports = task_inputs(spec, declared.without_input(over.item) if over else declared, given, made, place)
        prefix = f"{group[-1]}/" if group else ""
        common = {
            "name": prefix + name,
            "label": spec.get("taskInfo", {}).get("name") or name,
            "group": group,
            "dependencies": (*(prefix + other for other in earlier), *self.imports(spec, group)),
            "guard": guard(spec.get("triggerPolicy", {}).get("condition", ""), ports, place),
            "ignores_failure": strategy(spec, place) == STRATEGIES[-1],
        }
        task = TaskSpec(place, spec, called, component, declared, ports, common)
        if over:
            return self.loop(over, task)
        if "dag" in component:
            return self.subdag(task, dag_inputs(ports, declared))
        settings = platform.sources(component["executorLabel"], self.asked(spec), given, made)
        step = self.steps[task.name] = leaf.step(task, self.executors, settings, self.retry(task))
        return leaf.outputs(step)

    def asked(self, task: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return what a task asks of its cluster, as written."""
        component = self.components.get(task.get("componentRef", {}).get("name"), {})
        return self.settings.get(component.get("executorLabel"), {})

    def imports(self, task: Mapping[str, Any], group: tuple[str, ...]) -> list[str]:
        """Return the steps that bring in what the pipeline is given and a task of its outermost DAG takes."""
        specs = task.get("inputs", {}).get("artifacts", {}).values() if not group else ()
        taken = [leaf.import_step(spec["componentInputArtifact"]) for spec in specs if "componentInputArtifact" in spec]
        return list(dict.fromkeys(taken))

    def subdag(self, task: TaskSpec, given: Ports) -> Ports:
        self.groups[task.name], since = Group(**task.common), len(self.steps)
        inside = (*task.common["group"], task.name)
        with self._entered(task):
            made = self.dag(task.component, task.declared, given, f"components.{task.component_name}", inside)
        self._close(task.name, since)
        return made

    def loop(self, over: loops.Iterator, task: TaskSpec) -> Ports:
        """Expand a loop: a sub-DAG for each item, or a `Loop` while the items are not known."""
        name, declared, ports = task.name, task.declared, task.ports
        inputs = declared.input_artifacts if over.artifacts else declared.input_parameters
        named(over.item, inputs, f"components.{task.component_name}", "input")
        items = loops.items_of(over, ports, self.known.get(name), task.place)
        if items is None or (self.fold and over.parallelism and name not in self.known):
            self.steps[name], outputs = loops.pending(over, declared, ports, task.common, task.place)
            return outputs
        self.groups[name], since = Group(**task.common, parallelism=over.parallelism), len(self.steps)
        self.loops += 1
        with self._entered(task):
            made = [self._iteration(over, index, item, task) for index, item in enumerate(items)]
        self.loops -= 1
        self._close(name, since)
        outputs = loops.collected(declared, made)
        self.groups[name] = replace(
            self.groups[name],
            parameters={n: typed.source for n, typed in outputs.parameters.items()},
            artifacts={n: typed.source for n, typed in outputs.artifacts.items()},
        )
        return outputs

    def _iteration(self, over: loops.Iterator, index: int, item: Any, task: TaskSpec) -> Ports:
        """Expand one iteration of a loop, a group of its own; return its outputs."""
        outer = (*task.common["group"], task.name)
        one = Group(name=f"{task.name}/{index}", label=f"{task.common['label']} [{index}]", group=outer)
        self.groups[one.name], begun = one, len(self.steps)
        ports = loops.iteration(over, index, item, task.declared, task.ports, task.place)
        given, at = dag_inputs(ports, task.declared), f"components.{task.component_name}"
        made = self.dag(task.component, task.declared, given, at, (*outer, one.name))
        self._close(one.name, begun)
        return made

    @contextmanager
    def _entered(self, task: TaskSpec) -> Generator[None]:
        """Go into the sub-DAG of a task. Its retries are those of each task in it that states none, as on a cluster."""
        if task.component_name in self.inside:
            raise InvalidPipeline(
                f"{task.place}: components.{task.component_name} holds itself; a pipeline cannot be recursive"
            )
        self.inside.append(task.component_name)
        self.retries.append(self.retry(task))
        yield
        self.inside.pop()
        self.retries.pop()

    def retry(self, task: TaskSpec) -> Retry:
        """Return the retries of a task: its own, else those of the sub-DAG around it."""
        if "retryPolicy" in task.spec or not self.retries:
            return definitions.retry(task.spec.get("retryPolicy", {}), f"{task.place}.retryPolicy")
        return self.retries[-1]

    def _close(self, group: str, since: int) -> None:
        """Tell a group its leaves, once all of them are there: the steps that came after the first `since`."""
        leaves = tuple(islice(reversed(self.steps), len(self.steps) - since))[::-1]
        self.groups[group] = replace(self.groups[group], steps=leaves)


def _require_body(component: Mapping[str, Any], name: str, over: loops.Iterator | None, place: str) -> None:
    if over and "dag" not in component:
        raise InvalidPipeline(f"{place}: a loop goes over a dag, components.{name} is none; compile again")
    if ("dag" in component) == ("executorLabel" in component):
        raise InvalidPipeline(f"components.{name} must hold either a dag or an executorLabel; compile again")
