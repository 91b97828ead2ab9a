"""The published JSON Schemas of workflows and training jobs: ``python -m fleetml.workflow.schema docs/schemas``.

What a schema cannot say (cycles, names of other tasks, which dataset a task gets) the compiler alone refuses.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from fleetml.learn.algorithms import ALGORITHMS, OBJECTIVES, OPTIMIZERS, TRANSFORMATIONS
from fleetml.pipeline.model import Parameter
from fleetml.workflow import job, parameters
from fleetml.workflow.spec import Task
from fleetml.workflow.types import TYPES

DIALECT = "https://json-schema.org/draft/2020-12/schema"
_ID = {"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"}
_TEXT = {"type": "string", "pattern": "\\S"}
_REFERENCE = {"type": "string", "pattern": "^\\$\\{[^}]*\\}$"}
_FEATURES = {"type": "array", "items": {"$ref": "#/$defs/feature"}}
_JSON_TYPES = {
    "STRING": "string",
    "NUMBER_INTEGER": "integer",
    "NUMBER_DOUBLE": "number",
    "BOOLEAN": "boolean",
    "LIST": "array",
    "STRUCT": "object",
}


def workflow() -> dict[str, Any]:
    """Return the schema of a workflow."""
    shared = {"type": "object", "description": "Values for every task that takes a parameter of this name."}
    return {
        "$schema": DIALECT,
        "title": "FleetML workflow",
        "type": "object",
        "required": ["workflow_id", "tasks"],
        "additionalProperties": False,
        "not": {"required": ["global_parameters", "parameters"]},
        "properties": {
            "workflow_id": _ID,
            "name": _TEXT,
            "description": {"type": "string"},
            "global_parameters": shared,
            "parameters": shared,
            "tasks": {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/task"}},
        },
        "$defs": {"task": _task(), "resources": _resources(), "retry": _retry()},
    }


def _task() -> dict[str, Any]:
    return {
        "type": "object",
        "required": ["task_id", "task_type"],
        "additionalProperties": False,
        "properties": {
            "task_id": _ID,
            "task_type": {
                "type": "string",
                "description": f"One of {', '.join(TYPES)}, in any case.",
                "anyOf": [{"pattern": _any_case(name)} for name in TYPES],
            },
            "name": _TEXT,
            "dependencies": {"type": "array", "items": _TEXT, "description": "task_ids that come before."},
            "parameters": {"type": "object"},
            "resources": {"$ref": "#/$defs/resources"},
            "retry": {"$ref": "#/$defs/retry"},
            "cache": {"type": "boolean"},
        },
        "allOf": [_of_type(name) for name in TYPES],
    }


def _of_type(name: str) -> dict[str, Any]:
    """The parameters of one task type."""
    known = parameters.known(Task("x", name, ""))
    return {
        "if": {"required": ["task_type"], "properties": {"task_type": {"pattern": _any_case(name)}}},
        "then": {
            "properties": {
                "parameters": {
                    "additionalProperties": False,
                    "properties": {each: _value(parameter) for each, parameter in known.items()},
                }
            }
        },
    }


def _value(parameter: Parameter) -> dict[str, Any]:
    kind = {"type": _JSON_TYPES[parameter.type]}
    return kind if parameter.type == "STRING" else {"anyOf": [kind, _REFERENCE]}


def _any_case(name: str) -> str:
    letters = "".join("[_-]" if letter == "_" else f"[{letter}{letter.lower()}]" for letter in name)
    return f"^{letters}$"


def _resources() -> dict[str, Any]:
    return {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "cpu_cores": {"type": "number", "minimum": 0},
            "memory_gb": {"type": "number", "minimum": 0},
            "gpu_units": {"type": "integer", "minimum": 0},
        },
    }


def _retry() -> dict[str, Any]:
    whole = {"type": "integer", "minimum": 0, "description": "Tries after the first."}
    seconds = {"type": "number", "minimum": 0}
    several = {
        "type": "object",
        "required": ["max_retries"],
        "additionalProperties": False,
        "properties": {
            "max_retries": whole,
            "backoff_seconds": seconds,
            "backoff_factor": {"type": "number", "minimum": 1},
            "max_backoff_seconds": seconds,
        },
    }
    return {"anyOf": [whole, several]}


def training_job() -> dict[str, Any]:
    """Return the schema of a training job."""
    every = dict.fromkeys(name for known in ALGORITHMS.values() for name in known.knows)
    train = parameters.known(Task("x", "MODEL_TRAINING", ""))
    chosen = {name: {"type": _JSON_TYPES[train[name].type]} for name in every}
    return {
        "$schema": DIALECT,
        "title": "FleetML training job",
        "type": "object",
        "required": ["model_id", "dataset"],
        "additionalProperties": False,
        "properties": {
            "model_id": _TEXT,
            "name": _TEXT,
            "dataset": closed(_dataset(), ("uri",)),
            "features": _FEATURES,
            "target": _TEXT,
            "algorithm": {"enum": list(ALGORITHMS)},
            "objective": {"enum": [*OBJECTIVES, *job.FORECASTING]},
            "max_iterations": {"type": "integer", "exclusiveMinimum": 0},
            "early_stopping": {"type": "boolean"},
            "batch_size": {"type": "integer", "exclusiveMinimum": 0},
            "learning_rate": {"type": "number", "exclusiveMinimum": 0},
            "optimizer": {"enum": list(OPTIMIZERS)},
            "validation_split": {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
            "seed": {"type": "integer"},
            "hyperparameters": closed(chosen),
            "resources": _resources(),
            "deployment": closed({"target": _TEXT, "scaling_config": {"type": "object"}}),
        },
        "$defs": {
            "column": closed({"name": _TEXT, "type": _TEXT}, ("name", "type")),
            "feature": {"anyOf": [_TEXT, closed(_feature(), ("name",))]},
        },
    }


def _dataset() -> dict[str, Any]:
    return {
        "uri": _TEXT,
        "format": {"type": "string", "pattern": "^([Cc][Ss][Vv]|[Pp][Aa][Rr][Qq][Uu][Ee][Tt])$"},
        "schema": {"anyOf": [{"type": "object"}, {"type": "array", "items": {"$ref": "#/$defs/column"}}]},
        "features": _FEATURES,
        "target": _TEXT,
    }


def _feature() -> dict[str, Any]:
    kinds = {"enum": list(TRANSFORMATIONS)}
    return {"name": _TEXT, "type": _TEXT, "transformations": {"anyOf": [kinds, {"type": "array", "items": kinds}]}}


def closed(properties: Mapping[str, Any], required: Iterable[str] = ()) -> dict[str, Any]:
    """Return the schema of a mapping that holds nothing but these."""
    made: dict[str, Any] = {"type": "object", "additionalProperties": False, "properties": dict(properties)}
    return {**made, "required": list(required)} if required else made


SCHEMAS = {"workflow.schema.json": workflow, "job.schema.json": training_job}


def text(schema: Mapping[str, Any]) -> str:
    """Return a schema as it is published."""
    return json.dumps(schema, indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    for name, made in SCHEMAS.items():
        (Path(sys.argv[1]) / name).write_text(text(made()), encoding="utf-8")
