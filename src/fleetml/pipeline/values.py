"""Values of parameters: casts by declared type, text forms, canonical JSON, digests."""

from __future__ import annotations

import enum
from typing import Any


class Missing(enum.Enum):
    """The type of `ABSENT`: no value at all (JSON null is never a parameter's value)."""

    ABSENT = "absent"

    def __repr__(self) -> str:
        return "ABSENT"


ABSENT = Missing.ABSENT


def cast(value: Any, type: str) -> Any:
    """Return `value` as the declared type: "STRING", "NUMBER_INTEGER", "NUMBER_DOUBLE", "BOOLEAN", "LIST", "STRUCT".

    5.0 is the integer 5, as the IR writes it; nothing else is converted. Raises InvalidParameter.
    """
    raise NotImplementedError


def parse_parameter(text: str, type: str) -> Any:
    """Return the value a user wrote as text ("5", "true", '{"a": 1}'). Raises InvalidParameter."""
    raise NotImplementedError


def canonical_json(value: Any) -> str:
    """Return the one JSON text of `value`: sorted keys, no spaces, UTF-8 kept, NaN refused."""
    raise NotImplementedError


def digest(value: Any) -> str:
    """Return the SHA-256 (hex) of the canonical JSON of `value`."""
    raise NotImplementedError
