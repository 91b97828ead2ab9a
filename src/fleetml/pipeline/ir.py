"""The grammar of the IR (PipelineSpec 2.1.0): which keys stand where, and which of them are not run yet.

`check` holds a document to it, so that what reads the document afterwards finds the shapes it expects
and nothing a user wrote is passed over in silence.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from fleetml.errors import InvalidPipeline, UnsupportedConstruct
from fleetml.frozen import frozen

SCHEMA_VERSION = "2.1.0"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}\Z")
# An output is a file or folder of this name beside those of the executor contract.
_OUTPUT = re.compile(r"(?!(?:executor_output|failure|result)\.json\Z)[A-Za-z0-9_][A-Za-z0-9._-]{0,127}\Z")


@frozen
class Unsupported:
    """A construct that is valid but not run; `what` names it as its author knows it."""

    what: str


@frozen
class MapOf:
    """A mapping from free names to one kind of value."""

    kind: Any
    names: re.Pattern[str] | None = None  # where they become file and folder names


@frozen
class ListOf:
    """A list of one kind of value."""

    kind: Any


TEXT, TRUTH, NUMBER, VALUE = "a text", "true or false", "a number", "any value"
_SHAPES: dict[str, type | tuple[type, ...]] = {TEXT: str, TRUTH: bool, NUMBER: (int, float), VALUE: object}

_CONSTANT = {
    "constant": VALUE,
    "constantValue": Unsupported("constantValue"),
    "runtimeParameter": Unsupported("runtimeParameter"),
}
_PARAMETER = {
    "parameterType": TEXT,
    "defaultValue": VALUE,
    "isOptional": TRUTH,
    "description": TEXT,
    "literals": ListOf(VALUE),
    "type": Unsupported("the old parameter field 'type'"),
}
_ARTIFACT_TYPE = {
    "schemaTitle": TEXT,
    "schemaVersion": TEXT,
    "schemaUri": Unsupported("artifact types by schemaUri"),
    "instanceSchema": Unsupported("artifact types by instanceSchema"),
}
_ARTIFACT = {
    "artifactType": _ARTIFACT_TYPE,
    "isOptional": TRUTH,
    "description": TEXT,
    "isArtifactList": TRUTH,
    "metadata": Unsupported("metadata in an output definition"),
    "properties": Unsupported("properties in an output definition"),
    "customProperties": Unsupported("customProperties in an output definition"),
}
_INPUTS = {"parameters": MapOf(_PARAMETER), "artifacts": MapOf(_ARTIFACT)}
_OUTPUTS = {"parameters": MapOf(_PARAMETER, _OUTPUT), "artifacts": MapOf(_ARTIFACT, _OUTPUT)}
_PARAMETER_SELECTOR = {"producerSubtask": TEXT, "outputParameterKey": TEXT}
_DAG_OUTPUTS = {
    "parameters": MapOf(
        {
            "valueFromParameter": _PARAMETER_SELECTOR,
            "valueFromOneof": {"parameterSelectors": ListOf(_PARAMETER_SELECTOR)},
        }
    ),
    "artifacts": MapOf({"artifactSelectors": ListOf({"producerSubtask": TEXT, "outputArtifactKey": TEXT})}),
}
_TASK = {
    "taskInfo": {"name": TEXT},
    "componentRef": {"name": TEXT},
    "dependentTasks": ListOf(TEXT),
    "inputs": {
        "parameters": MapOf(
            {
                "taskOutputParameter": {"producerTask": TEXT, "outputParameterKey": TEXT},
                "runtimeValue": _CONSTANT,
                "componentInputParameter": TEXT,
                "parameterExpressionSelector": TEXT,
                "taskFinalStatus": {"producerTask": TEXT},
            }
        ),
        "artifacts": MapOf(
            {"taskOutputArtifact": {"producerTask": TEXT, "outputArtifactKey": TEXT}, "componentInputArtifact": TEXT}
        ),
    },
    "cachingOptions": {"enableCache": TRUTH, "cacheKey": TEXT},
    "triggerPolicy": {"condition": TEXT, "strategy": TEXT},
    "retryPolicy": {
        "maxRetryCount": NUMBER,
        "backoffDuration": TEXT,
        "backoffFactor": NUMBER,
        "backoffMaxDuration": TEXT,
    },
    "parameterIterator": {"items": {"raw": TEXT, "inputParameter": TEXT}, "itemInput": TEXT},
    "artifactIterator": {"items": {"inputArtifact": TEXT}, "itemInput": TEXT},
    "iteratorPolicy": {"parallelismLimit": NUMBER},
}
_COMPONENT = {
    "inputDefinitions": _INPUTS,
    "outputDefinitions": _OUTPUTS,
    "executorLabel": TEXT,
    "dag": {"tasks": MapOf(_TASK, NAME), "outputs": _DAG_OUTPUTS},
    "singlePlatformSpecs": Unsupported("platform settings of a component (singlePlatformSpecs)"),
    "taskConfigPassthroughs": Unsupported("task configuration passed into a component (dsl.TaskConfig)"),
}
_RESOURCES = {
    "resourceCpuLimit": TEXT,
    "resourceMemoryLimit": TEXT,
    "resourceCpuRequest": TEXT,
    "resourceMemoryRequest": TEXT,
    "cpuLimit": NUMBER,
    "memoryLimit": NUMBER,
    "cpuRequest": NUMBER,
    "memoryRequest": NUMBER,
    "accelerator": {"resourceType": TEXT, "resourceCount": TEXT, "type": TEXT, "count": VALUE},
}
_EXECUTOR = {
    "container": {
        "image": TEXT,
        "command": ListOf(TEXT),
        "args": ListOf(TEXT),
        "env": ListOf({"name": TEXT, "value": TEXT}),
        "resources": _RESOURCES,
        "lifecycle": Unsupported("a container's lifecycle"),
    },
    "importer": {
        "artifactUri": {"constant": TEXT, "runtimeParameter": TEXT},
        "typeSchema": _ARTIFACT_TYPE,
        "metadata": MapOf(VALUE),
        "reimport": TRUTH,
        "downloadToWorkspace": TRUTH,
    },
    "resolver": Unsupported("a resolver"),
    "customJob": Unsupported("a custom job of another platform"),
}
_DOCUMENT = {
    "pipelineInfo": {"name": TEXT, "displayName": TEXT, "description": TEXT},
    "deploymentSpec": {"executors": MapOf(_EXECUTOR)},
    "components": MapOf(_COMPONENT),
    "root": _COMPONENT,
    "schemaVersion": TEXT,
    "sdkVersion": TEXT,
    "defaultPipelineRoot": TEXT,
    "platforms": VALUE,  # the second document; `platform.check` holds it to its own grammar
}


def check(document: Mapping[str, Any]) -> None:
    """Raise InvalidPipeline or UnsupportedConstruct at the first place that breaks the grammar."""
    version = document.get("schemaVersion")
    if version != SCHEMA_VERSION:
        raise InvalidPipeline(f"schemaVersion must be {SCHEMA_VERSION}, got {version!r}; compile with kfp 2.x")
    walk(document, _DOCUMENT, "")
    if not NAME.match(str(document.get("pipelineInfo", {}).get("name", ""))):
        got = document.get("pipelineInfo", {}).get("name")
        raise InvalidPipeline(f"pipelineInfo.name must match {NAME.pattern}, got {got!r}; name the pipeline")
    if "dag" not in document.get("root", {}):
        raise InvalidPipeline("root must hold a dag with tasks; compile a pipeline, not a component")


def walk(value: Any, kind: Any, place: str) -> None:
    """Raise InvalidPipeline or UnsupportedConstruct at the first place below `place` where `value` is not of `kind`."""
    match kind:
        case Unsupported(what):
            raise UnsupportedConstruct(f"{place}: {what} is not run yet; take it out of the pipeline")
        case dict():
            _expect(value, dict, "a mapping", place)
            for key, inner in value.items():
                if key not in kind:
                    raise UnsupportedConstruct(_unknown(key, kind, place))
                walk(inner, kind[key], _join(place, key))
        case MapOf(inner_kind, names):
            _expect(value, dict, "a mapping", place)
            for key, inner in value.items():
                if not isinstance(key, str) or (names and not names.match(key)):
                    pattern = (names or NAME).pattern
                    raise InvalidPipeline(f"{place}: a name must match {pattern}, got {key!r:.80}; rename it")
                walk(inner, inner_kind, _join(place, key))
        case ListOf(inner_kind):
            _expect(value, list, "a list", place)
            for index, inner in enumerate(value):
                walk(inner, inner_kind, f"{place}[{index}]")
        case _:
            _expect(value, _SHAPES[kind], kind, place)


def _expect(value: Any, shape: type | tuple[type, ...], words: str, place: str) -> None:
    if not isinstance(value, shape) or (isinstance(value, bool) and shape == (int, float)):
        raise InvalidPipeline(f"{place} must be {words}, got {value!r:.80}; compile the pipeline again")


def _unknown(key: Any, kind: Mapping[str, Any], place: str) -> str:
    import difflib  # here, as most documents have no such key

    close = difflib.get_close_matches(str(key), kind, 1)
    hint = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(sorted(kind))}"
    return f"{place or 'the document'}: the key {key!r} is unknown to KFP ({SCHEMA_VERSION}); {hint}"


def _join(place: str, key: str) -> str:
    return f"{place}.{key}" if place else key
