"""Placeholders of the IR: what ``{{$…}}``, Concat and IfPresent become in a command, args or env.

`names` maps the placeholders of a run (`RUN_NAMES`) to their values.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from fleetml.errors import InvalidPipeline
from fleetml.pipeline.model import Container, Step, Template
from fleetml.pipeline.values import ABSENT, as_text

RUN_NAMES = (
    "pipeline_job_name",
    "pipeline_job_uuid",
    "pipeline_job_resource_name",
    "pipeline_job_create_time_utc",
    "pipeline_job_schedule_time_utc",
    "pipeline_task_name",
    "pipeline_task_uuid",
    "pipeline_root",
    "workspace_path",
)
# The same for every run, so a result stays good although the command holds them.
_STABLE_NAMES = {"pipeline_task_name"}
_PLACEHOLDER = re.compile(r"\{\{\$(?P<body>(?:\.[^{}]*)?)\}\}")
_KEY = r"\[\s*(?P<q{0}>'{{1,2}}|\")(?P<{1}>[^'\"\]]+)(?P=q{0})\s*\]"
_NAME = re.compile(
    r"\.(?P<side>inputs|outputs)\.(?P<what>parameters|artifacts)"
    + _KEY.format(1, "name")
    + r"(?:\.(?P<field>path|uri|name|output_file|metadata)(?:"
    + _KEY.format(2, "key")
    + r")?)?\Z"
)
_STRUCT = ('{"Concat":', '{"IfPresent":')


def render_command(container: Container, executor_input: Mapping[str, Any], names: Mapping[str, str]) -> list[str]:
    """Return command + args as the process gets them; `executor_input` as in KFP's executor contract.

    Raises InvalidPipeline for a placeholder whose value is not there.
    """
    given = _given(executor_input)
    elements = [item for text in (*container.command, *container.args) for item in _expanded(text, given)]
    return [_render(text, executor_input, names) for text in elements]


def render_env(container: Container, executor_input: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, str]:
    """Return the container's environment variables."""
    return {name: _render(text, executor_input, names) for name, text in container.env.items()}


def run_specific(step: Step) -> list[str]:
    """Return the placeholders in the step's container and constants that differ from run to run."""
    texts = list(_container_texts(step.container))
    for source in step.parameters.values():
        if isinstance(source, Template):
            texts.extend(_texts(source.value))
    found = {body[1:] for text in texts for body in bodies(text)}
    return sorted(name for name in found if name in RUN_NAMES and name not in _STABLE_NAMES)


def bodies(text: str) -> list[str]:
    """Return the insides of all placeholders in `text`: "", ".pipeline_root", ".inputs.parameters['x']"."""
    return [found["body"] for found in _PLACEHOLDER.finditer(text)]


def input_parameters(value: Any) -> list[str]:
    """Return the names of the input parameters that placeholders anywhere in `value` refer to."""
    found = (_NAME.match(body) for text in _texts(value) for body in bodies(text))
    return [m["name"] for m in found if m and m["side"] == "inputs" and m["what"] == "parameters"]


def has_placeholder(value: Any) -> bool:
    """Say whether any text in `value` holds a placeholder."""
    return any(_PLACEHOLDER.search(text) for text in _texts(value))


def fill(value: Any, inputs: Mapping[str, Any], names: Mapping[str, str]) -> Any:
    """Return a constant with its placeholders replaced by input parameters and names of the run.

    A text that is nothing but one placeholder becomes the value itself, with its type.
    """
    if isinstance(value, list):
        return [fill(item, inputs, names) for item in value]
    if isinstance(value, dict):
        return {key: fill(item, inputs, names) for key, item in value.items()}
    if not isinstance(value, str):
        return value

    def lookup(body: str) -> Any:
        found = _NAME.match(body)
        return _present(inputs.get(found["name"], ABSENT), body) if found else _of_run(body, names)

    whole = _PLACEHOLDER.fullmatch(value)
    return lookup(whole["body"]) if whole else _replaced(value, lookup)


def check_container(container: Container, declared: Mapping[tuple[str, str], Mapping[str, Any]]) -> None:
    """Raise InvalidPipeline for a placeholder in command, args or env that refers to nothing.

    `declared` maps ("inputs" | "outputs", "parameters" | "artifacts") to the definitions by name.
    """
    for text in _container_texts(container):
        for body in bodies(text):
            _check(body, declared)
        for name in _asked(text):
            if not any(name in declared["inputs", what] for what in ("parameters", "artifacts")):
                raise InvalidPipeline(f"IfPresent asks for the input {name!r}, which its component does not declare")


def check_constant(value: Any, inputs: Mapping[str, Any]) -> None:
    """Raise for a placeholder in a constant that is neither an input parameter of its task nor a name of the run."""
    for text in _texts(value):
        for body in bodies(text):
            found = _NAME.match(body)
            if not found:
                check_run_name(body)
            elif found["side"] != "inputs" or found["what"] != "parameters" or found["name"] not in inputs:
                raise InvalidPipeline(
                    f"the placeholder {{{{${body}}}}} refers to nothing; the task gets {sorted(inputs)}"
                )


def check_run_name(body: str) -> None:
    """Raise for a placeholder that is neither an input nor a name of the run."""
    if body.removeprefix(".") not in RUN_NAMES:
        raise InvalidPipeline(f"unknown placeholder {{{{${body}}}}}; known are the run's {', '.join(RUN_NAMES)}")


def _check(body: str, declared: Mapping[tuple[str, str], Mapping[str, Any]]) -> None:
    if body in ("", ".outputs.output_file", ".outputMetadataUri"):
        return
    found = _NAME.match(body)
    if found is None:
        check_run_name(body)
    elif found["name"] not in declared[found["side"], found["what"]]:
        known = sorted(declared[found["side"], found["what"]])
        raise InvalidPipeline(f"the placeholder {{{{${body}}}}} refers to nothing; declared are {known}")


def _render(text: str, executor_input: Mapping[str, Any], names: Mapping[str, str]) -> str:
    def lookup(body: str) -> Any:
        if body == "":
            return json.dumps(executor_input)
        if body in (".outputs.output_file", ".outputMetadataUri"):
            return executor_input["outputs"]["outputFile"]
        found = _NAME.match(body)
        return _present(_of_executor_input(found, executor_input), body) if found else _of_run(body, names)

    return _replaced(text, lookup)


def _replaced(text: str, lookup: Callable[[str], Any]) -> str:
    return _PLACEHOLDER.sub(lambda found: as_text(lookup(found["body"])), text)


def _present(value: Any, body: str) -> Any:
    if value is ABSENT or value is None:
        raise InvalidPipeline(
            f"the placeholder {{{{${body}}}}} has no value; give the input, or wrap it in IfPresentPlaceholder"
        )
    return value


def _of_run(body: str, names: Mapping[str, str]) -> str:
    check_run_name(body)
    return names.get(body.removeprefix("."), "")


def _of_executor_input(found: re.Match[str], executor_input: Mapping[str, Any]) -> Any:
    side, what, name = executor_input.get(found["side"], {}), found["what"], found["name"]
    if what == "parameters":
        if found["side"] == "inputs":
            return side.get("parameterValues", {}).get(name)
        return side.get("parameters", {}).get(name, {}).get("outputFile")
    entry = side.get("artifacts", {}).get(name, {})
    artifacts = entry.get("artifacts", [])
    if entry.get("isList") and not found["field"]:
        return artifacts  # a whole list, as JSON
    if not artifacts:
        return None
    return _of_artifact(artifacts[0], found["field"] or "uri", found["key"])


def _of_artifact(artifact: Mapping[str, Any], field: str, key: str | None) -> Any:
    if field == "path":
        return str(artifact.get("uri", "")).removeprefix("file://")
    value = artifact.get(field, {} if field == "metadata" else "")
    return value.get(key) if key and field == "metadata" else value


def _given(executor_input: Mapping[str, Any]) -> set[str]:
    """Return the names of the inputs that have a value (what IfPresent asks)."""
    inputs = executor_input.get("inputs", {})
    parameters = {name for name, value in inputs.get("parameterValues", {}).items() if value is not None}
    return parameters | {name for name, entry in inputs.get("artifacts", {}).items() if entry.get("artifacts")}


def _expanded(text: str, given: set[str]) -> list[str]:
    """Return the texts that one element of a command stands for: itself, or what its structure yields."""
    return _structure(json.loads(text), given) if text.startswith(_STRUCT) else [text]


def _structure(node: Any, given: set[str]) -> list[str]:
    match node:
        case str():
            return [node]
        case list():
            return [text for item in node for text in _structure(item, given)]
        case {"Concat": parts}:
            return ["".join(_structure(parts, given))]
        case {"IfPresent": {"InputName": name, **rest}}:
            return _structure(rest.get("Then" if name in given else "Else", []), given)
    raise InvalidPipeline(f"unknown structure {node!r:.80} in a command; known are Concat and IfPresent")


def _asked(text: str) -> Iterator[str]:
    """Yield the names of the inputs whose presence a structure asks for."""
    if not text.startswith(_STRUCT):
        return
    nodes = [json.loads(text)]
    while nodes:
        node = nodes.pop()
        if isinstance(node, dict):
            if "InputName" in node:
                yield node["InputName"]
            nodes.extend(node.values())
        elif isinstance(node, list):
            nodes.extend(node)


def _container_texts(container: Container) -> Iterator[str]:
    yield from container.command
    yield from container.args
    yield from container.env.values()


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)
    elif isinstance(value, dict):
        for item in value.values():
            yield from _texts(item)
