"""Pipeline parameters as typed Airflow Params: the trigger form shows them and the server refuses what does not fit."""

from __future__ import annotations

from typing import Any

from airflow.sdk import Param

from fleetml import ranges
from fleetml.pipeline import Parameter, Plan
from fleetml.pipeline.values import ABSENT
from fleetml.triggers import Triggers

_JSON_TYPE = {
    "STRING": "string",
    "NUMBER_INTEGER": "integer",
    "NUMBER_DOUBLE": "number",
    "BOOLEAN": "boolean",
    "LIST": "array",
    "STRUCT": "object",
}


def params(plan: Plan, triggers: Triggers) -> dict[str, Param]:
    """Return one Param per pipeline input; the defaults of triggers.yaml go before those of the IR.

    What a schedule or an asset event fills in may stay empty in the form; the task `parameters` has the last word.
    """
    made, bounds = {}, ranges.of(plan)
    for name, definition in plan.inputs.items():
        default = triggers.defaults.get(name, definition.default)
        nullable = not definition.required or name in triggers.filled
        made[name] = _param(definition, default, nullable, bounds.get(name, {}))
    return made


def _param(definition: Parameter, default: Any, nullable: bool, bounds: ranges.Range) -> Param:
    # The form sends null for a field left empty: allowed wherever the run can do without a value.
    schema: dict[str, Any] = {"type": _JSON_TYPE[definition.type], **bounds}
    if nullable:
        schema["type"] = [schema["type"], "null"]
    if choices := definition.literals or bounds.get("enum", ()):
        schema["enum"] = [*choices, *([None] if nullable else [])]
    if default is ABSENT and not nullable:
        return Param(description=definition.description, **schema)
    return Param(None if default is ABSENT else default, description=definition.description, **schema)
