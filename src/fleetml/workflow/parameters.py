"""Values of a workflow's parameters: checked against the component of their task, and written as the IR has them.

A task's value is its own; else that of the global parameter of the same name; else the component's default.
``"${seed}"`` stands for a global parameter in any value, alone (then with its type) or inside a text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from fleetml.errors import InvalidParameter
from fleetml.pipeline.model import Parameter
from fleetml.pipeline.values import cast
from fleetml.workflow import catalogue, grammar, values
from fleetml.workflow.grammar import InvalidWorkflow
from fleetml.workflow.spec import Task, Workflow
from fleetml.workflow.types import INSTALLATION

_REFERENCE = re.compile(r"\$\{([^}]*)\}")
_CHANNEL = "pipelinechannel--"
_TYPES = {bool: "BOOLEAN", int: "NUMBER_INTEGER", float: "NUMBER_DOUBLE", str: "STRING", list: "LIST", dict: "STRUCT"}


def known(task: Task) -> dict[str, Parameter]:
    """Return the parameters that a task of this type may be given."""
    found = dict(catalogue.parameters(task.kind.component))
    found.pop("run_id", None)
    if task.kind.from_registry:
        found["model_name"] = Parameter("model_name", "STRING", "", True)
        found["registry"] = Parameter("registry", "STRING", "", True)
    return found


def inputs(task: Task, workflow: Workflow) -> dict[str, Any]:
    """Return the values of a task's inputs in the IR's form, with the channels that they read.

    Raises InvalidWorkflow for an unknown name, a wrong type, a missing value, an unknown reference.
    """
    takes = known(task)
    for name in task.parameters:
        if name not in takes:
            told = grammar.nearest(name, takes) or f"; it has {', '.join(takes)}"
            raise InvalidWorkflow(f"{task.place}.parameters.{name}: is no parameter of {task.type}{told}")
    found: dict[str, Any] = {}
    for name, parameter in takes.items():
        value, place = task.parameters.get(name), f"{task.place}.parameters.{name}"
        if value is not None:
            found.update(_given(name, value, parameter, workflow, place))
        elif name in workflow.parameters or name in INSTALLATION:
            found[name] = {"componentInputParameter": name}
        elif name in ("threads", "workers") and task.cpu_cores >= 1:
            found[name] = {"runtimeValue": {"constant": int(task.cpu_cores)}}
        elif name in task.kind.required:
            raise InvalidWorkflow(
                f"{place}: is missing, {task.type} needs {name}; give it here or as a global parameter"
            )
    shared = {
        name: _cast(value, takes[name].type, f"global_parameters.{name}")
        for name, value in workflow.parameters.items()
        if name in takes and name not in task.parameters
    }
    values.check(task, {**shared, **task.parameters})
    return found


def _given(name: str, value: Any, parameter: Parameter, workflow: Workflow, place: str) -> dict[str, Any]:
    if isinstance(value, str) and (whole := _REFERENCE.fullmatch(value)):
        return {name: {"componentInputParameter": _referred(whole[1], workflow, place)}}
    channels = dict.fromkeys(_referred(each, workflow, place) for each in _references(value))
    if not channels:
        return {name: {"runtimeValue": {"constant": _cast(value, parameter.type, place)}}}
    if parameter.type not in ("STRING", "LIST", "STRUCT"):
        raise InvalidWorkflow(
            f"{place}: takes a number or a truth value, a text with ${{…}} in it is none; write ${{…}} alone"
        )
    reads = {f"{_CHANNEL}{each}": {"componentInputParameter": each} for each in channels}
    return {name: {"runtimeValue": {"constant": _written(value)}}, **reads}


def _cast(value: Any, kind: str, place: str) -> Any:
    try:
        return cast(value, kind, place)
    except InvalidParameter as error:
        raise InvalidWorkflow(f"{error}; correct it".replace(" must", ": must", 1)) from None


def _references(value: Any) -> Iterator[str]:
    match value:
        case str():
            yield from _REFERENCE.findall(value)
        case list():
            for item in value:
                yield from _references(item)
        case dict():
            for item in value.values():
                yield from _references(item)


def _referred(name: str, workflow: Workflow, place: str) -> str:
    if name not in workflow.parameters:
        told = grammar.nearest(name, workflow.parameters) or f"; it has {', '.join(workflow.parameters) or 'none'}"
        raise InvalidWorkflow(f"{place}: ${{{name}}} is no global parameter{told}")
    return name


def _written(value: Any) -> Any:
    match value:
        case str():
            return _REFERENCE.sub(lambda found: f"{{{{$.inputs.parameters['{_CHANNEL}{found[1]}']}}}}", value)
        case list():
            return [_written(item) for item in value]
        case dict():
            return {key: _written(item) for key, item in value.items()}
    return value


def pipeline_inputs(workflow: Workflow, used: Mapping[str, set[str]]) -> dict[str, Any]:
    """Return the input definitions of the pipeline: the global parameters, and what comes from the installation.

    `used` maps a name to the types of the inputs it feeds. A global parameter has their type, or, where they differ or only
    texts read it, its own. Raises InvalidWorkflow for one that nothing reads, or of the wrong type.
    """
    found: dict[str, Any] = {}
    for name, value in workflow.parameters.items():
        place = f"global_parameters.{name}"
        if name not in used:
            raise InvalidWorkflow(f"{place}: no task takes it; remove it, or refer to it as ${{{name}}}")
        own = _TYPES.get(type(value))
        if own is None:
            raise InvalidWorkflow(f"{place}: must have a value, got {value!r}; give one")
        kinds = used[name] - {""}
        if len(kinds) > 1:
            raise InvalidWorkflow(f"{place}: is read as {' and '.join(sorted(kinds))}; use two parameters")
        kind = next(iter(kinds), own)
        found[name] = {"parameterType": kind, "defaultValue": _cast(value, kind, place), "isOptional": True}
    for name in INSTALLATION:
        if name in used and name not in found:
            found[name] = {"parameterType": "STRING", "defaultValue": "", "isOptional": True}
    return found
