"""Static expansion: the nested DAGs of an IR become flat steps whose sources point at other steps.

A value that an outer DAG hands to an inner one is followed to where it comes from, so a step knows its
producers directly; what the nesting means for order, conditions and failure stays in the groups.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from fleetml.errors import InvalidParameter, InvalidPipeline, UnsupportedConstruct
from fleetml.pipeline import conditions, definitions, placeholders
from fleetml.pipeline.definitions import Interface
from fleetml.pipeline.model import (
    Absent,
    ArtifactDefinition,
    Constant,
    Group,
    Guard,
    OneOf,
    Parameter,
    PipelineInput,
    Resources,
    Selected,
    Source,
    Step,
    StepOutput,
    Template,
)
from fleetml.pipeline.values import ABSENT, cast

_SELECTOR = re.compile(r"parseJson\(string_value\)\[(['\"])(?P<key>.+)\1\]\Z")
_STRATEGIES = ("", "TRIGGER_STRATEGY_UNSPECIFIED", "ALL_UPSTREAM_TASKS_SUCCEEDED", "ALL_UPSTREAM_TASKS_COMPLETED")
_NUMBERS = {"NUMBER_INTEGER", "NUMBER_DOUBLE"}


@dataclass(frozen=True)
class Typed:
    """A source and the type it was declared with ("" where nothing is declared: constants, selected entries)."""

    source: Source
    type: str = ""


@dataclass(frozen=True)
class Ports:
    """Parameters and artifacts by name: what a DAG gets from around it, what a task gets, what it gives."""

    parameters: Mapping[str, Typed] = field(default_factory=dict)
    artifacts: Mapping[str, Typed] = field(default_factory=dict)


@dataclass(frozen=True)
class Expansion:
    """The leaves and sub-DAGs of a document in topological order, and the pipeline's own inputs and outputs."""

    inputs: Mapping[str, Parameter]
    steps: dict[str, Step]
    groups: dict[str, Group]
    outputs: dict[str, Source]


def expand(document: Mapping[str, Any]) -> Expansion:
    """Return the expansion of a document that `ir.check` let pass. Raises InvalidPipeline or UnsupportedConstruct."""
    root = document["root"]
    declared = definitions.interface(root, "root.inputDefinitions")
    if declared.input_artifacts:
        name = next(iter(declared.input_artifacts))
        raise UnsupportedConstruct(
            f"root.inputDefinitions.artifacts.{name}: an artifact as input of a whole pipeline is not run yet"
        )
    walk = _Walk(document)
    given = Ports({n: Typed(PipelineInput(n), p.type) for n, p in declared.input_parameters.items()})
    made = walk.dag(root, declared, given, "root", ())
    outputs = {n: t.source for n, t in (*made.parameters.items(), *made.artifacts.items())}
    return Expansion(declared.input_parameters, walk.steps, walk.groups, outputs)


class _Walk:
    """One walk over a document's DAGs, collecting steps and groups."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self.components = document.get("components", {})
        self.executors = document.get("deploymentSpec", {}).get("executors", {})
        self.steps: dict[str, Step] = {}
        self.groups: dict[str, Group] = {}
        self.inside: list[str] = []

    def dag(
        self, component: Mapping[str, Any], declared: Interface, given: Ports, place: str, group: tuple[str, ...]
    ) -> Ports:
        """Expand one DAG; return its outputs."""
        tasks = component["dag"].get("tasks", {})
        if not tasks:
            raise InvalidPipeline(f"{place}.dag: a DAG must hold at least one task; compile again")
        before = {name: _before(task, tasks, f"{place}.dag.tasks.{name}") for name, task in tasks.items()}
        made: dict[str, Ports] = {}
        for name in _ordered(before, f"{place}.dag.tasks"):
            at = f"{place}.dag.tasks.{name}"
            made[name] = self.task(name, tasks[name], given, made, before[name], at, group)
        return _outputs(component["dag"].get("outputs", {}), declared, made, f"{place}.dag.outputs")

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
        component = _found(component_name, self.components, f"{place}.componentRef.name", "component")
        declared = definitions.interface(component, f"components.{component_name}")
        ports = _inputs(task, declared, given, made, place)
        policy = task.get("triggerPolicy", {})
        if policy.get("strategy", "") not in _STRATEGIES:
            raise InvalidPipeline(
                f"{place}.triggerPolicy.strategy must be one of {_STRATEGIES[1:]}, got {policy['strategy']!r}"
            )
        common: dict[str, Any] = {
            "name": prefix + name,
            "label": task.get("taskInfo", {}).get("name") or name,
            "group": group,
            "dependencies": tuple(prefix + other for other in before),
            "guard": _guard(policy.get("condition", ""), ports, place),
            "ignores_failure": policy.get("strategy") == _STRATEGIES[-1],
        }
        if ("dag" in component) == ("executorLabel" in component):
            raise InvalidPipeline(
                f"components.{component_name} must hold either a dag or an executorLabel; compile again"
            )
        if "dag" in component:
            return self.subdag(component_name, component, declared, _own(ports, declared), common, task, place)
        return self.leaf(component_name, component, declared, ports, common, task, place)

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
        if component_name in self.inside:
            raise InvalidPipeline(f"{place}: components.{component_name} holds itself; a pipeline cannot be recursive")
        if task.get("retryPolicy", {}).get("maxRetryCount"):
            raise UnsupportedConstruct(
                f"{place}.retryPolicy: retries of a whole sub-DAG are not run yet; set them on its tasks"
            )
        name = common["name"]
        self.groups[name] = Group(**common)
        self.inside.append(component_name)
        made = self.dag(component, declared, ports, f"components.{component_name}", (*common["group"], name))
        self.inside.pop()
        leaves = tuple(step for step, it in self.steps.items() if name in it.group)
        self.groups[name] = replace(self.groups[name], steps=leaves)
        return made

    def leaf(
        self,
        component_name: str,
        component: Mapping[str, Any],
        declared: Interface,
        ports: Ports,
        common: dict[str, Any],
        task: Mapping[str, Any],
        place: str,
    ) -> Ports:
        label = component["executorLabel"]
        at = f"deploymentSpec.executors.{label}"
        executor = _found(label, self.executors, f"components.{component_name}.executorLabel", "executor")
        container = definitions.container(executor, at)
        try:
            placeholders.check_container(container, declared.declared())
        except InvalidPipeline as error:
            raise type(error)(f"{at}: {error}") from None
        step = Step(
            **common,
            component=component_name.removeprefix("comp-"),
            container=container,
            parameters={n: t.source for n, t in ports.parameters.items() if n in declared.input_parameters},
            artifacts={n: t.source for n, t in ports.artifacts.items()},
            resource_inputs=_resource_inputs(container.resources, ports, at),
            input_parameters=declared.input_parameters,
            input_artifacts=declared.input_artifacts,
            output_parameters=declared.output_parameters,
            output_artifacts=declared.output_artifacts,
            retry=definitions.retry(task.get("retryPolicy", {}), f"{place}.retryPolicy"),
        )
        caches = task.get("cachingOptions", {}).get("enableCache", False)
        self.steps[step.name] = replace(step, cacheable=caches and not placeholders.run_specific(step))
        return Ports(
            {n: Typed(StepOutput(step.name, n), p.type) for n, p in declared.output_parameters.items()},
            {n: Typed(StepOutput(step.name, n), a.type) for n, a in declared.output_artifacts.items()},
        )


def _before(task: Mapping[str, Any], tasks: Mapping[str, Any], place: str) -> list[str]:
    """Return the tasks beside this one that come before it, by order or by data, in the IR's order."""
    inputs = task.get("inputs", {})
    named = [*task.get("dependentTasks", [])]
    named += [
        spec["taskOutputParameter"].get("producerTask", "")
        for spec in inputs.get("parameters", {}).values()
        if "taskOutputParameter" in spec
    ]
    named += [
        spec["taskOutputArtifact"].get("producerTask", "")
        for spec in inputs.get("artifacts", {}).values()
        if "taskOutputArtifact" in spec
    ]
    for name in named:
        _found(name, tasks, place, "task")
    return list(dict.fromkeys(named))


def _ordered(before: Mapping[str, list[str]], place: str) -> list[str]:
    """Return the tasks in topological order. Raises InvalidPipeline for a cycle."""
    done: dict[str, None] = {}
    while len(done) < len(before):
        ready = [name for name in before if name not in done and all(other in done for other in before[name])]
        if not ready:
            stuck = [name for name in before if name not in done]
            raise InvalidPipeline(
                f"{place}: the tasks {', '.join(sorted(stuck))} wait for each other; remove the cycle"
            )
        done.update(dict.fromkeys(ready))
    return list(done)


def _inputs(task: Mapping[str, Any], declared: Interface, given: Ports, made: Mapping[str, Ports], place: str) -> Ports:
    """Return what a task gets, by name: its declared inputs, and further parameters that placeholders refer to."""
    at = f"{place}.inputs"
    specs = task.get("inputs", {})
    parameters: dict[str, Typed] = {}
    later: dict[str, Any] = {}  # constants may refer to the others
    for name, spec in specs.get("parameters", {}).items():
        if name not in declared.input_parameters and not name.startswith("pipelinechannel--"):
            _found(name, declared.input_parameters, f"{at}.parameters", "declared input parameter")
        if "runtimeValue" in spec:
            later[name] = spec["runtimeValue"].get("constant")
        else:
            parameters[name] = _parameter(spec, given, made, f"{at}.parameters.{name}")
    for name, value in later.items():
        parameters[name] = Typed(_constant(value, parameters, f"{at}.parameters.{name}"))
    artifacts = {
        name: _artifact(spec, given, made, f"{at}.artifacts.{name}")
        for name, spec in specs.get("artifacts", {}).items()
    }
    for name in artifacts:
        _found(name, declared.input_artifacts, f"{at}.artifacts", "declared input artifact")
    for name, parameter in declared.input_parameters.items():
        parameters[name] = _fitted(parameter, parameters.get(name), f"{at}.parameters.{name}")
    for name, artifact in declared.input_artifacts.items():
        artifacts[name] = _fitting(artifact, artifacts.get(name), f"{at}.artifacts.{name}")
    return Ports(parameters, artifacts)


def _own(ports: Ports, declared: Interface) -> Ports:
    """Return the declared ports only, each with the type the sub-DAG declares."""
    return Ports(
        {n: Typed(ports.parameters[n].source, p.type) for n, p in declared.input_parameters.items()},
        {n: Typed(ports.artifacts[n].source, a.type) for n, a in declared.input_artifacts.items()},
    )


def _parameter(spec: Mapping[str, Any], given: Ports, made: Mapping[str, Ports], place: str) -> Typed:
    if "componentInputParameter" in spec:
        found = _found(spec["componentInputParameter"], given.parameters, place, "input parameter of the DAG around it")
    elif "taskOutputParameter" in spec:
        output = spec["taskOutputParameter"]
        ports = made[output.get("producerTask", "")]
        found = _found(
            output.get("outputParameterKey", ""),
            ports.parameters,
            place,
            f"output parameter of {output['producerTask']!r}",
        )
    else:
        raise InvalidPipeline(f"{place}: a parameter needs a source, got {sorted(spec)}; compile again")
    selector = spec.get("parameterExpressionSelector")
    if not selector:
        return found
    key = _SELECTOR.match(selector)
    if key is None:
        raise UnsupportedConstruct(
            f'{place}: the selector {selector!r} is not run; known is parseJson(string_value)["key"]'
        )
    if found.type not in ("STRUCT", ""):
        raise InvalidPipeline(f"{place}: {selector!r} picks an entry of a STRUCT, got a {found.type}")
    return Typed(Selected(found.source, key["key"]))


def _artifact(spec: Mapping[str, Any], given: Ports, made: Mapping[str, Ports], place: str) -> Typed:
    if "componentInputArtifact" in spec:
        return _found(spec["componentInputArtifact"], given.artifacts, place, "input artifact of the DAG around it")
    if "taskOutputArtifact" not in spec:
        raise InvalidPipeline(f"{place}: an artifact needs a source, got {sorted(spec)}; compile again")
    output = spec["taskOutputArtifact"]
    ports = made[output.get("producerTask", "")]
    return _found(
        output.get("outputArtifactKey", ""), ports.artifacts, place, f"output artifact of {output['producerTask']!r}"
    )


def _constant(value: Any, parameters: Mapping[str, Typed], place: str) -> Source:
    """Return a constant's source; its placeholders may name the task's other inputs or the run."""
    if not placeholders.has_placeholder(value):
        return Absent() if value is None else Constant(value)
    try:
        placeholders.check_constant(value, parameters)
    except InvalidPipeline as error:
        raise type(error)(f"{place}: {error}") from None
    return Template(value, {name: parameters[name].source for name in placeholders.input_parameters(value)})


def _fitted(parameter: Parameter, got: Typed | None, place: str) -> Typed:
    """Return a task's parameter as its component declares it: cast if it is known, checked if it is not."""
    source: Source = Absent() if got is None else got.source
    if isinstance(source, Absent) and parameter.default is not ABSENT:
        return Typed(Constant(parameter.default), parameter.type)
    if isinstance(source, Absent) and parameter.required:
        raise InvalidPipeline(
            f"{place}: the required parameter {parameter.name!r} is not given; give it in pipeline.py"
        )
    if got is not None and got.type and got.type != parameter.type and not {got.type, parameter.type} <= _NUMBERS:
        raise InvalidPipeline(f"{place} must be {parameter.type}, got {got.type}; connect an output of that type")
    if isinstance(source, Constant):
        try:
            source = Constant(cast(source.value, parameter.type, place))
        except InvalidParameter as error:
            raise InvalidPipeline(f"{error}; mend the value in pipeline.py") from None
    if isinstance(source, PipelineInput) and source.default is ABSENT:
        source = replace(source, default=parameter.default)
    return Typed(source, parameter.type)


def _fitting(artifact: ArtifactDefinition, got: Typed | None, place: str) -> Typed:
    if got is None:
        if not artifact.optional:
            raise InvalidPipeline(
                f"{place}: the required artifact {artifact.name!r} is not given; give it in pipeline.py"
            )
        return Typed(Absent(), artifact.type)
    if got.type != artifact.type and "system.Artifact" not in (got.type, artifact.type):
        raise InvalidPipeline(f"{place} must be {artifact.type}, got {got.type}; connect an output of that type")
    return got


def _guard(expression: str, ports: Ports, place: str) -> Guard | None:
    if not expression:
        return None
    at = f"{place}.triggerPolicy.condition"
    try:
        condition = conditions.parse(expression)
        for name in condition.names:
            _found(name, ports.parameters, at, "input parameter of the task")
        types = {name: ports.parameters[name].type for name in condition.names}
        condition.check(types)
    except InvalidPipeline as error:
        raise type(error)(f"{at}: {error}") from None
    return Guard(condition, {name: ports.parameters[name].source for name in condition.names}, types)


def _resource_inputs(resources: Resources, ports: Ports, place: str) -> dict[str, Source]:
    """Return the sources that dynamic resources refer to (the compiler adds them to the task's inputs)."""
    named = placeholders.input_parameters(list(vars(resources).values()))
    return {
        name: _found(name, ports.parameters, f"{place}.container.resources", "input parameter of the task").source
        for name in named
    }


def _outputs(spec: Mapping[str, Any], declared: Interface, made: Mapping[str, Ports], place: str) -> Ports:
    """Return the outputs of a DAG, each followed to the steps that make it."""
    parameters: dict[str, Typed] = {}
    artifacts: dict[str, Typed] = {}
    for name, parameter in declared.output_parameters.items():
        at = f"{place}.parameters.{name}"
        value = _found(name, spec.get("parameters", {}), f"{place}.parameters", "output parameter of the DAG")
        several = value.get("valueFromOneof", {}).get("parameterSelectors", [])
        picks = several or [value.get("valueFromParameter", {})]
        parameters[name] = _picked([_selected(p, "outputParameterKey", made, at) for p in picks], parameter.type, at)
    for name, artifact in declared.output_artifacts.items():
        at = f"{place}.artifacts.{name}"
        value = _found(name, spec.get("artifacts", {}), f"{place}.artifacts", "output artifact of the DAG")
        picks = value.get("artifactSelectors", [])
        artifacts[name] = _picked([_selected(p, "outputArtifactKey", made, at) for p in picks], artifact.type, at)
    return Ports(parameters, artifacts)


def _selected(selector: Mapping[str, Any], key: str, made: Mapping[str, Ports], place: str) -> Typed:
    ports = _found(selector.get("producerSubtask", ""), made, place, "task")
    entries = ports.parameters if key == "outputParameterKey" else ports.artifacts
    return _found(selector.get(key, ""), entries, place, f"output of {selector['producerSubtask']!r}")


def _picked(found: list[Typed], kind: str, place: str) -> Typed:
    if not found:
        raise InvalidPipeline(f"{place}: an output of a DAG needs a producer, got none; compile again")
    for typed in found:
        if typed.type and typed.type != kind and "system.Artifact" not in (typed.type, kind):
            raise InvalidPipeline(f"{place} must be {kind}, got {typed.type} from its producer; compile again")
    source = found[0].source if len(found) == 1 else OneOf(tuple(typed.source for typed in found))
    return Typed(source, kind)


def _found(name: str, entries: Mapping[str, Any], place: str, what: str) -> Any:
    """Return `entries[name]`. Raises InvalidPipeline naming the closest one there is."""
    if name in entries:
        return entries[name]
    close = difflib.get_close_matches(name, entries, 1)
    hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(sorted(entries)) or 'none'}"
    raise InvalidPipeline(f"{place}: there is no {what} {name!r}; {hint}")
