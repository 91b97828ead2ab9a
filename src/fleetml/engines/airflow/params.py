"""Pipeline parameters as typed Airflow Params: the trigger form shows them and the server refuses what does not fit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow.sdk import Param

from fleetml.pipeline import Parameter, Plan
from fleetml.pipeline.values import ABSENT

_JSON_TYPE = {
    "STRING": "string",
    "NUMBER_INTEGER": "integer",
    "NUMBER_DOUBLE": "number",
    "BOOLEAN": "boolean",
    "LIST": "array",
    "STRUCT": "object",
}


def params(plan: Plan, defaults: Mapping[str, Any]) -> dict[str, Param]:
    """Return one Param per pipeline input; `defaults` (of triggers.yaml) go before those of the IR."""
    bound = {name: value for name, value in defaults.items() if name in plan.inputs}
    return {name: _param(definition, bound.get(name, definition.default)) for name, definition in plan.inputs.items()}


def _param(definition: Parameter, default: Any) -> Param:
    # The form sends null for a field left empty: allowed wherever the pipeline can do without a value.
    schema: dict[str, Any] = {"type": _JSON_TYPE[definition.type]}
    if not definition.required:
        schema["type"] = [schema["type"], "null"]
    if definition.literals:
        schema["enum"] = [*definition.literals, *([] if definition.required else [None])]
    if default is ABSENT and definition.required:
        return Param(description=definition.description, **schema)
    return Param(None if default is ABSENT else default, description=definition.description, **schema)
