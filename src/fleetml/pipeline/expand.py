"""Static expansion: the nested DAGs of an IR become flat steps whose sources point at other steps.

A value that an outer DAG hands to an inner one is followed to where it comes from, so a step knows its
producers directly; what the nesting means for order, conditions and failure stays in the groups.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from graphlib import CycleError, TopologicalSorter
from itertools import islice
from typing import Any

from fleetml.errors import InvalidPipeline, UnsupportedConstruct
from fleetml.frozen import frozen
from fleetml.pipeline import definitions, loops, placeholders, platform
from fleetml.pipeline.definitions import Interface
from fleetml.pipeline.model import (
    ArtifactDefinition,
    Container,
    FinalStatus,
    Group,
    Importer,
    Parameter,
    PipelineInput,
    Retry,
    Source,
    Step,
    StepOutput,
)
from fleetml.pipeline.wiring import Ports, Typed, dag_inputs, dag_outputs, guard, named, resource_inputs, task_inputs

_STRATEGIES = ("", "TRIGGER_STRATEGY_UNSPECIFIED", "ALL_UPSTREAM_TASKS_SUCCEEDED", "ALL_UPSTREAM_TASKS_COMPLETED")


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
            place = f"root.inputDefinitions.artifacts.{name}"
            step = _import_step(name)
            if artifact.many or step in tasks:
                what = "a list of artifacts as input of a whole pipeline" if artifact.many else f"a task named {step!r}"
                raise UnsupportedConstruct(f"{place}: {what} is not run; bring it in with dsl.importer")
            told = f"URI of the {artifact.type}: a path on this machine or a URL. {artifact.description}".strip()
            uris[name] = Parameter(name, "STRING", optional=artifact.optional, description=told)
            self.steps[step] = Step(
                name=step,
                label=f"import {name}",
                component="importer",
                container=Container(""),
                importer=Importer(parameter=name),
                parameters={name: PipelineInput(name)},
                input_parameters={name: uris[name]},
                output_artifacts={name: artifact},
                cacheable=False,
            )
            made[name] = Typed(StepOutput(step, name), artifact.type)
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
        before = {
            name: _before(task, self.asked(task), tasks, f"{place}.dag.tasks.{name}") for name, task in tasks.items()
        }
        made: dict[str, Ports] = {}
        for name in _ordered(before, f"{place}.dag.tasks"):
            at = f"{place}.dag.tasks.{name}"
            ports = self.task(name, tasks[name], given, made, before[name], at, group)
            full = f"{group[-1]}/{name}" if group else name
            leaves = self.groups[full].steps if full in self.groups else (full,)
            made[name] = replace(ports, status=FinalStatus(full, leaves))
        at = f"{place}.dag.outputs"
        return dag_outputs(component["dag"].get("outputs", {}), declared, made, at, in_loop=self.loops > 0)

    def task(
        self,
        name: str,
        task: Mapping[str, Any],
        given: Ports,
        made: Mapping[str, Ports],
        before: Iterable[str],
        place: str,
        group: tuple[str, ...],
    ) -> Ports:
        """Expand one task, a leaf or a sub-DAG; return its outputs."""
        prefix = f"{group[-1]}/" if group else ""
        component_name = task.get("componentRef", {}).get("name", "")
        component = named(component_name, self.components, f"{place}.componentRef.name", "component")
        declared = definitions.interface(component, f"components.{component_name}")
        over = loops.iterator(task, place)
        if over and "dag" not in component:
            raise InvalidPipeline(
                f"{place}: a loop goes over a dag, components.{component_name} is none; compile again"
            )
        ports = task_inputs(task, declared.without_input(over.item) if over else declared, given, made, place)
        policy = task.get("triggerPolicy", {})
        if policy.get("strategy", "") not in _STRATEGIES:
            raise InvalidPipeline(
                f"{place}.triggerPolicy.strategy must be one of {_STRATEGIES[1:]}, got {policy['strategy']!r}"
            )
        common: dict[str, Any] = {
            "name": prefix + name,
            "label": task.get("taskInfo", {}).get("name") or name,
            "group": group,
            "dependencies": (*(prefix + other for other in before), *self.imports(task, group)),
            "guard": guard(policy.get("condition", ""), ports, place),
            "ignores_failure": policy.get("strategy") == _STRATEGIES[-1],
        }
        if ("dag" in component) == ("executorLabel" in component):
            raise InvalidPipeline(
                f"components.{component_name} must hold either a dag or an executorLabel; compile again"
            )
        if over:
            return self.loop(over, component_name, component, declared, ports, common, task, place)
        if "dag" in component:
            return self.subdag(component_name, component, declared, dag_inputs(ports, declared), common, task, place)
        settings = platform.sources(component["executorLabel"], self.asked(task), given, made)
        return self.leaf(component_name, component, declared, ports, common, task, place, settings)

    def asked(self, task: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return what a task asks of its cluster, as written."""
        component = self.components.get(task.get("componentRef", {}).get("name"), {})
        return self.settings.get(component.get("executorLabel"), {})

    def imports(self, task: Mapping[str, Any], group: tuple[str, ...]) -> list[str]:
        """Return the steps that bring in what the pipeline is given and a task of its outermost DAG takes."""
        specs = task.get("inputs", {}).get("artifacts", {}).values() if not group else ()
        taken = [_import_step(spec["componentInputArtifact"]) for spec in specs if "componentInputArtifact" in spec]
        return list(dict.fromkeys(taken))

    def subdag(
        self,
        component_name: str,
        component: Mapping[str, Any],
        declared: Interface,
        ports: Ports,
        common: dict[str, Any],
        task: Mapping[str, Any],
        place: str,
    ) -> Ports:
        name = common["name"]
        self.groups[name], since = Group(**common), len(self.steps)
        with self._entered(component_name, task, place):
            made = self.dag(component, declared, ports, f"components.{component_name}", (*common["group"], name))
        self._close(name, since)
        return made

    def loop(
        self,
        over: loops.Iterator,
        component_name: str,
        component: Mapping[str, Any],
        declared: Interface,
        ports: Ports,
        common: dict[str, Any],
        task: Mapping[str, Any],
        place: str,
    ) -> Ports:
        """Expand a loop: a sub-DAG for each item, or a `Loop` while the items are not known."""
        name, at = common["name"], f"components.{component_name}"
        named(over.item, declared.input_artifacts if over.artifacts else declared.input_parameters, at, "input")
        items = loops.items_of(over, ports, self.known.get(name), place)
        if items is None or (self.fold and over.parallelism and name not in self.known):
            self.steps[name], outputs = loops.pending(over, declared, ports, common, place)
            return outputs
        self.groups[name], since = Group(**common, parallelism=over.parallelism), len(self.steps)
        made = []
        self.loops += 1
        with self._entered(component_name, task, place):
            for index, item in enumerate(items):
                one = Group(
                    name=f"{name}/{index}", label=f"{common['label']} [{index}]", group=(*common["group"], name)
                )
                self.groups[one.name], begun = one, len(self.steps)
                given = dag_inputs(loops.iteration(over, index, item, declared, ports, place), declared)
                made.append(self.dag(component, declared, given, at, (*one.group, one.name)))
                self._close(one.name, begun)
        self.loops -= 1
        self._close(name, since)
        outputs = loops.collected(declared, made)
        self.groups[name] = replace(
            self.groups[name],
            parameters={n: typed.source for n, typed in outputs.parameters.items()},
            artifacts={n: typed.source for n, typed in outputs.artifacts.items()},
        )
        return outputs

    @contextmanager
    def _entered(self, component_name: str, task: Mapping[str, Any], place: str) -> Generator[None]:
        """Go into the sub-DAG of a task. Its retries are those of each task in it that states none, as on a cluster."""
        if component_name in self.inside:
            raise InvalidPipeline(f"{place}: components.{component_name} holds itself; a pipeline cannot be recursive")
        self.inside.append(component_name)
        self.retries.append(self.retry(task, place))
        yield
        self.inside.pop()
        self.retries.pop()

    def retry(self, task: Mapping[str, Any], place: str) -> Retry:
        if "retryPolicy" in task or not self.retries:
            return definitions.retry(task.get("retryPolicy", {}), f"{place}.retryPolicy")
        return self.retries[-1]

    def _close(self, group: str, since: int) -> None:
        """Tell a group its leaves, once all of them are there: the steps that came after the first `since`."""
        leaves = tuple(islice(reversed(self.steps), len(self.steps) - since))[::-1]
        self.groups[group] = replace(self.groups[group], steps=leaves)

    def leaf(
        self,
        component_name: str,
        component: Mapping[str, Any],
        declared: Interface,
        ports: Ports,
        common: dict[str, Any],
        task: Mapping[str, Any],
        place: str,
        settings: Mapping[str, Any],
    ) -> Ports:
        label = component["executorLabel"]
        for name, artifact in declared.output_artifacts.items():
            if artifact.many:
                raise UnsupportedConstruct(
                    f"components.{component_name}.outputDefinitions.artifacts.{name}: lists of artifacts as output of "
                    "one step are not run yet; write one artifact, or loop and collect"
                )
        at = f"deploymentSpec.executors.{label}"
        executor = named(label, self.executors, f"components.{component_name}.executorLabel", "executor")
        brought = definitions.importer(executor, at)
        container, operation = platform.operation(Container("") if brought else definitions.container(executor, at))
        try:
            placeholders.check_container(container, declared.declared())
            if brought and len(declared.output_artifacts) != 1:
                raise InvalidPipeline("an importer gives one artifact; compile again")
            if brought:
                placeholders.check_constant(dict(brought.metadata), declared.input_parameters)
                if brought.parameter:
                    named(brought.parameter, declared.input_parameters, f"{at}.importer.artifactUri", "input parameter")
        except InvalidPipeline as error:
            raise type(error)(f"{at}: {error}") from None
        step = Step(
            **common,
            component=component_name.removeprefix("comp-"),
            container=container,
            importer=brought,
            parameters={n: t.source for n, t in ports.parameters.items() if n in declared.input_parameters},
            artifacts={n: t.source for n, t in ports.artifacts.items()},
            platform={**settings, **operation},
            resource_inputs=resource_inputs(container.resources, ports, at),
            input_parameters=declared.input_parameters,
            input_artifacts=declared.input_artifacts,
            output_parameters=declared.output_parameters,
            output_artifacts=declared.output_artifacts,
            retry=self.retry(task, place),
            cache_key=task.get("cachingOptions", {}).get("cacheKey", ""),
        )
        caches = task.get("cachingOptions", {}).get("enableCache", False)
        cacheable = caches and brought is None and not operation and not placeholders.run_specific(step)
        self.steps[step.name] = replace(step, cacheable=cacheable)
        return Ports(
            {n: Typed(StepOutput(step.name, n), p.type) for n, p in declared.output_parameters.items()},
            {n: Typed(StepOutput(step.name, n), a.type, a.many) for n, a in declared.output_artifacts.items()},
        )


def _import_step(artifact: str) -> str:
    return f"import-{artifact}".replace("_", "-")


def _before(task: Mapping[str, Any], settings: Mapping[str, Any], tasks: Mapping[str, Any], place: str) -> list[str]:
    """Return the tasks beside this one that come before it, by order or by data, in the IR's order."""
    inputs = task.get("inputs", {})
    producers = [*task.get("dependentTasks", []), *platform.producers(settings)]
    producers += [
        spec["taskFinalStatus"].get("producerTask", "")
        for spec in inputs.get("parameters", {}).values()
        if "taskFinalStatus" in spec
    ]
    producers += [
        spec["taskOutputParameter"].get("producerTask", "")
        for spec in inputs.get("parameters", {}).values()
        if "taskOutputParameter" in spec
    ]
    producers += [
        spec["taskOutputArtifact"].get("producerTask", "")
        for spec in inputs.get("artifacts", {}).values()
        if "taskOutputArtifact" in spec
    ]
    for name in producers:
        named(name, tasks, place, "task")
    return list(dict.fromkeys(producers))


def _ordered(before: Mapping[str, list[str]], place: str) -> list[str]:
    """Return the tasks in topological order, those that are ready together in the IR's. Raises InvalidPipeline for a cycle."""
    sorter, positions = TopologicalSorter(before), {name: position for position, name in enumerate(before)}
    try:
        sorter.prepare()
    except CycleError as error:
        stuck = ", ".join(sorted(set(error.args[1])))
        raise InvalidPipeline(f"{place}: the tasks {stuck} wait for each other; remove the cycle") from None
    done: list[str] = []
    while sorter.is_active():
        ready = sorted(sorter.get_ready(), key=positions.__getitem__)
        done += ready
        sorter.done(*ready)
    return done
