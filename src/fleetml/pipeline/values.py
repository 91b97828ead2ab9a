"""Values of parameters: casts by declared type, text forms, canonical JSON, digests."""

from __future__ import annotations

import enum
import json
import math
import re
from typing import Any

from fleetml import sha256
from fleetml.errors import InvalidParameter


class Missing(enum.Enum):
    """The type of `ABSENT`: no value at all (JSON null is never a parameter's value)."""

    ABSENT = "absent"

    def __repr__(self) -> str:
        return "ABSENT"


ABSENT = Missing.ABSENT

EXPECTED = {
    "STRING": "a text",
    "NUMBER_INTEGER": "an integer",
    "NUMBER_DOUBLE": "a finite number",
    "BOOLEAN": "true or false",
    "LIST": "a list of JSON values",
    "STRUCT": "a mapping of texts to JSON values",
}
_DEEPEST = 100  # lists and mappings in one another
_INTEGER = r"[+-]?\d+\Z"
_TRUTH = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}


def cast(value: Any, type: str, place: str = "value") -> Any:
    """Return `value` as the declared type: one of `EXPECTED`.

    The IR and its server write every number as a double, so 5.0 is the integer 5, inside lists and
    mappings too; nothing else is converted. Raises InvalidParameter, which names `place`.
    """
    match type, value:
        case "STRING", str() if _is_text(value):
            return value
        case "BOOLEAN", bool():
            return value
        case (("NUMBER_INTEGER" | "NUMBER_DOUBLE"), bool()):
            pass
        case "NUMBER_INTEGER", int():
            return value
        case "NUMBER_INTEGER", float() if value.is_integer():
            return int(value)
        case "NUMBER_DOUBLE", int() | float() if _finite(value):
            return float(value)
        case ("LIST", list()) | ("STRUCT", dict()):
            return _plain(value, place)
    raise InvalidParameter(f"{place} must be {EXPECTED.get(type, type)}, got {shown(value)}")


def _is_text(value: str) -> bool:
    """JSON can escape half a character ("\\ud800"), which no file or command line can hold."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer beyond the largest double
        return False


def _plain(value: Any, place: str, depth: int = 0) -> Any:
    """Return a JSON value whose integral doubles are integers."""
    if depth > _DEEPEST:
        raise InvalidParameter(f"{place} must be nested at most {_DEEPEST} deep, it is deeper; flatten it")
    match value:
        case None | bool() | int():
            return value
        case str() if _is_text(value):
            return value
        case float() if math.isfinite(value):
            return int(value) if value.is_integer() and abs(value) < 2**53 else value
        case list():
            return [_plain(item, place, depth + 1) for item in value]
        case dict() if all(isinstance(key, str) and _is_text(key) for key in value):
            return {key: _plain(item, place, depth + 1) for key, item in value.items()}
    raise InvalidParameter(f"{place} must hold JSON values only, got {shown(value)} in it")


def parse_parameter(text: str, type: str, place: str = "value") -> Any:
    """Return the value a user wrote as text ("5", "true", '{"a": 1}'). Raises InvalidParameter naming `place`."""
    value: Any = text
    try:
        if type == "NUMBER_INTEGER" and re.match(_INTEGER, text.strip()):
            value = int(text)
        elif type == "BOOLEAN":
            value = _TRUTH.get(text.strip(), text)
        elif type != "STRING":
            value = float(text) if type == "NUMBER_DOUBLE" else json.loads(text)
    except (ValueError, RecursionError):
        pass  # the cast says what was expected
    return cast(value, type, place)


def as_text(value: Any) -> str:
    """Return the text of a value inside a command or a text, as a KFP cluster writes it.

    Numbers without exponent and without a trailing ``.0``, true/false, lists and mappings as compact JSON.
    """
    match value:
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case float() if value.is_integer():
            return str(int(value))
        case float():
            from decimal import Decimal

            return format(Decimal(repr(value)), "f")
    return canonical_json(value)


def shown(value: Any, longest: int = 80) -> str:
    """Return a value for a message, cut to `longest` characters."""
    text = repr(value)
    return text if len(text) <= longest else text[: longest - 1] + "…"


def canonical_json(value: Any) -> str:
    """Return the one JSON text of `value`: sorted keys, no spaces, UTF-8 kept, NaN refused (ValueError)."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def digest(value: Any) -> str:
    """Return the SHA-256 (hex) of the canonical JSON of `value`."""
    return sha256.hexdigest(canonical_json(value).encode())
