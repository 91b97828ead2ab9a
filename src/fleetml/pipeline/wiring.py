"""Where each input of a task and each output of a DAG comes from, checked against what is declared."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from fleetml.errors import InvalidParameter, InvalidPipeline, UnsupportedConstruct
from fleetml.frozen import field, frozen, replace
from fleetml.pipeline import placeholders
from fleetml.pipeline.definitions import Interface
from fleetml.pipeline.model import (
    Absent,
    ArtifactDefinition,
    Collected,
    Constant,
    Guard,
    OneOf,
    Parameter,
    PipelineInput,
    Resources,
    Selected,
    Source,
    Template,
)
from fleetml.pipeline.values import ABSENT, cast, parse_parameter

_SELECTOR = r"parseJson\(string_value\)\[(['\"])(?P<key>.+)\1\]\Z"
# What the compiler adds to a task's inputs for resources that are known only in the run.
_FURTHER = {"cpu_request", "cpu_limit", "memory_request", "memory_limit", "accelerator_type", "accelerator_count"}
_NUMBERS = {"NUMBER_INTEGER", "NUMBER_DOUBLE"}


@frozen
class Typed:
    """A source and the type it was declared with ("" where nothing is declared: constants, selected entries).

    `many`: a list of artifacts of that type.
    """

    source: Source
    type: str = ""
    many: bool = False


@frozen
class Ports:
    """Parameters and artifacts by name: what a DAG gets from around it, what a task gets, what it gives.

    `status`: how a task that gives them ended.
    """

    parameters: Mapping[str, Typed] = field(default_factory=dict)
    artifacts: Mapping[str, Typed] = field(default_factory=dict)
    status: Source = field(default_factory=Absent)


def task_inputs(
    task: Mapping[str, Any], declared: Interface, given: Ports, made: Mapping[str, Ports], place: str
) -> Ports:
    """Return what a task gets, by name: its declared inputs, and further parameters that placeholders refer to."""
    at = f"{place}.inputs"
    specs = task.get("inputs", {})
    parameters: dict[str, Typed] = {}
    later: dict[str, Any] = {}  # constants may refer to the others
    for name, spec in specs.get("parameters", {}).items():
        if name not in declared.input_parameters and not name.startswith("pipelinechannel--") and name not in _FURTHER:
            named(name, declared.input_parameters, f"{at}.parameters", "declared input parameter")
        if "runtimeValue" in spec:
            later[name] = spec["runtimeValue"].get("constant")
        else:
            parameters[name] = origin(spec, given, made, f"{at}.parameters.{name}")
    for name, value in later.items():
        parameters[name] = Typed(constant(value, parameters, f"{at}.parameters.{name}"))
    artifacts = {
        name: _artifact(spec, given, made, f"{at}.artifacts.{name}")
        for name, spec in specs.get("artifacts", {}).items()
    }
    for name in artifacts:
        named(name, declared.input_artifacts, f"{at}.artifacts", "declared input artifact")
    for name, parameter in declared.input_parameters.items():
        parameters[name] = fitted(parameter, parameters.get(name), f"{at}.parameters.{name}")
    for name, artifact in declared.input_artifacts.items():
        artifacts[name] = _fitting(artifact, artifacts.get(name), f"{at}.artifacts.{name}")
    return Ports(parameters, artifacts)


def dag_inputs(ports: Ports, declared: Interface) -> Ports:
    """Return the declared ports only, each with the type the sub-DAG declares."""
    return Ports(
        {n: Typed(ports.parameters[n].source, p.type) for n, p in declared.input_parameters.items()},
        {n: Typed(ports.artifacts[n].source, a.type, a.many) for n, a in declared.input_artifacts.items()},
    )


def origin(spec: Mapping[str, Any], given: Ports, made: Mapping[str, Ports], place: str) -> Typed:
    """Return what a parameter's `spec` refers to: an input of the DAG around it (`given`), or another task (`made`)."""
    if "componentInputParameter" in spec:
        found = named(spec["componentInputParameter"], given.parameters, place, "input parameter of the DAG around it")
    elif "taskOutputParameter" in spec:
        output = spec["taskOutputParameter"]
        ports = made[output.get("producerTask", "")]
        found = named(
            output.get("outputParameterKey", ""),
            ports.parameters,
            place,
            f"output parameter of {output['producerTask']!r}",
        )
    elif "taskFinalStatus" in spec:
        found = Typed(named(spec["taskFinalStatus"].get("producerTask", ""), made, place, "task").status, "STRUCT")
    else:
        raise InvalidPipeline(f"{place}: a parameter needs a source, got {sorted(spec)}; compile again")
    selector = spec.get("parameterExpressionSelector")
    if not selector:
        return found
    key = re.match(_SELECTOR, selector)
    if key is None:
        raise UnsupportedConstruct(
            f'{place}: the selector {selector!r} is not run; known is parseJson(string_value)["key"]'
        )
    if found.type not in ("STRUCT", "STRING", ""):  # an item of a list is declared a STRING where nothing tells more
        raise InvalidPipeline(f"{place}: {selector!r} picks an entry of a STRUCT, got a {found.type}")
    return Typed(Selected(found.source, key["key"]))


def _artifact(spec: Mapping[str, Any], given: Ports, made: Mapping[str, Ports], place: str) -> Typed:
    if "componentInputArtifact" in spec:
        return named(spec["componentInputArtifact"], given.artifacts, place, "input artifact of the DAG around it")
    if "taskOutputArtifact" not in spec:
        raise InvalidPipeline(f"{place}: an artifact needs a source, got {sorted(spec)}; compile again")
    output = spec["taskOutputArtifact"]
    ports = made[output.get("producerTask", "")]
    return named(
        output.get("outputArtifactKey", ""), ports.artifacts, place, f"output artifact of {output['producerTask']!r}"
    )


def constant(value: Any, parameters: Mapping[str, Typed], place: str) -> Source:
    """Return a constant's source; its placeholders may name the task's other inputs or the run."""
    if not placeholders.has_placeholder(value):
        return Absent() if value is None else Constant(value)
    try:
        placeholders.check_constant(value, parameters)
    except InvalidPipeline as error:
        raise type(error)(f"{place}: {error}") from None
    return Template(value, {name: parameters[name].source for name in placeholders.input_parameters(value)})


def fitted(parameter: Parameter, got: Typed | None, place: str) -> Typed:
    """Return a task's parameter as its component declares it: cast if it is known, checked if it is not."""
    source: Source = Absent() if got is None else got.source
    if isinstance(source, Absent) and parameter.default is not ABSENT:
        return Typed(Constant(parameter.default), parameter.type)
    if isinstance(source, Absent) and parameter.required:
        raise InvalidPipeline(
            f"{place}: the required parameter {parameter.name!r} is not given; give it in pipeline.py"
        )
    declared = got.type if got else ""
    if isinstance(source, Constant):
        return Typed(_constant(source, declared, parameter.type, place), parameter.type)
    if declared and declared != parameter.type and not {declared, parameter.type} <= _NUMBERS:
        raise InvalidPipeline(f"{place} must be {parameter.type}, got {declared}; connect an output of that type")
    if isinstance(source, PipelineInput) and source.default is ABSENT:
        source = replace(source, default=parameter.default)
    return Typed(source, parameter.type)


def _constant(source: Constant, declared: str, wanted: str, place: str) -> Constant:
    """Return a known value as the type that is wanted; `declared` is the one it comes with, "" where nothing tells."""
    fit: Callable[[Any, str, str], Any]
    if declared == "STRING" != wanted:
        # An item of a loop is declared a text where nothing tells more of the list; the value tells whether it fits.
        fit, remedy = parse_parameter, "mend the list that is looped over"
    elif declared and declared != wanted and not {declared, wanted} <= _NUMBERS:
        raise InvalidPipeline(f"{place} must be {wanted}, got {declared}; connect an output of that type")
    else:
        fit, remedy = cast, "mend the value in pipeline.py"
    try:
        return Constant(fit(source.value, wanted, place))
    except InvalidParameter as error:
        raise InvalidPipeline(f"{error}; {remedy}") from None


def _fitting(artifact: ArtifactDefinition, got: Typed | None, place: str) -> Typed:
    if got is None:
        if not artifact.optional:
            raise InvalidPipeline(
                f"{place}: the required artifact {artifact.name!r} is not given; give it in pipeline.py"
            )
        return Typed(Absent(), artifact.type, artifact.many)
    if got.many != artifact.many:
        wanted, found = ("a list", "one") if artifact.many else ("one", "a list")
        raise InvalidPipeline(f"{place} must be {wanted} of {artifact.type}, got {found}; connect an output that is")
    if got.type != artifact.type and "system.Artifact" not in (got.type, artifact.type):
        raise InvalidPipeline(f"{place} must be {artifact.type}, got {got.type}; connect an output of that type")
    return got


def guard(expression: str, ports: Ports, place: str) -> Guard | None:
    if not expression:
        return None
    from fleetml.pipeline import conditions  # here, as most pipelines have none

    at = f"{place}.triggerPolicy.condition"
    try:
        condition = conditions.parse(expression)
        for name in condition.names:
            named(name, ports.parameters, at, "input parameter of the task")
        types = {name: ports.parameters[name].type for name in condition.names}
        condition.check(types)
    except InvalidPipeline as error:
        raise type(error)(f"{at}: {error}") from None
    return Guard(condition, {name: ports.parameters[name].source for name in condition.names}, types)


def resource_inputs(resources: Resources, ports: Ports, place: str) -> dict[str, Source]:
    """Return the sources that dynamic resources refer to (the compiler adds them to the task's inputs)."""
    dynamic = placeholders.input_parameters(list(vars(resources).values()))
    return {
        name: named(name, ports.parameters, f"{place}.container.resources", "input parameter of the task").source
        for name in dynamic
    }


def dag_outputs(
    spec: Mapping[str, Any], declared: Interface, made: Mapping[str, Ports], place: str, in_loop: bool = False
) -> Ports:
    """Return the outputs of a DAG, each followed to the steps that make it.

    `in_loop`: what is declared there is what the loop collects (a list); one iteration gives an element of it.
    """
    parameters: dict[str, Typed] = {}
    artifacts: dict[str, Typed] = {}
    for name, parameter in declared.output_parameters.items():
        at = f"{place}.parameters.{name}"
        value = named(name, spec.get("parameters", {}), f"{place}.parameters", "output parameter of the DAG")
        several = value.get("valueFromOneof", {}).get("parameterSelectors", [])
        picks = several or [value.get("valueFromParameter", {})]
        kind = "" if in_loop else parameter.type
        parameters[name] = _picked([_selected(p, "outputParameterKey", made, at) for p in picks], kind, at)
    for name, artifact in declared.output_artifacts.items():
        at = f"{place}.artifacts.{name}"
        value = named(name, spec.get("artifacts", {}), f"{place}.artifacts", "output artifact of the DAG")
        picks = value.get("artifactSelectors", [])
        artifacts[name] = _picked([_selected(p, "outputArtifactKey", made, at) for p in picks], artifact.type, at)
        if artifacts[name].many != artifact.many and not in_loop:
            raise InvalidPipeline(f"{at}: one artifact and a list of them are not the same; compile again")
    return Ports(parameters, artifacts)


def _selected(selector: Mapping[str, Any], key: str, made: Mapping[str, Ports], place: str) -> Typed:
    ports = named(selector.get("producerSubtask", ""), made, place, "task")
    entries = ports.parameters if key == "outputParameterKey" else ports.artifacts
    return named(selector.get(key, ""), entries, place, f"output of {selector['producerSubtask']!r}")


def _picked(found: list[Typed], kind: str, place: str) -> Typed:
    if not found:
        raise InvalidPipeline(f"{place}: an output of a DAG needs a producer, got none; compile again")
    if kind == "LIST" and len(found) == 1 and found[0].type in {*_NUMBERS, "STRING", "BOOLEAN", "STRUCT"}:
        # dsl.Collected of a task in no loop: the compiler tells of it by the declared type alone.
        return Typed(Collected((found[0].source,)), kind)
    for typed in found:
        if typed.type and kind and typed.type != kind and "system.Artifact" not in (typed.type, kind):
            raise InvalidPipeline(f"{place} must be {kind}, got {typed.type} from its producer; compile again")
    source = found[0].source if len(found) == 1 else OneOf(tuple(typed.source for typed in found))
    return Typed(source, kind or found[0].type, found[0].many)


def named(name: str, entries: Mapping[str, Any], place: str, what: str) -> Any:
    """Return `entries[name]`. Raises InvalidPipeline naming the closest one there is."""
    if name in entries:
        return entries[name]
    import difflib  # here, as most names are right

    close = difflib.get_close_matches(name, entries, 1)
    hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(sorted(entries)) or 'none'}"
    raise InvalidPipeline(f"{place}: there is no {what} {name!r}; {hint}")
