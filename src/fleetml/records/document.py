"""What stands in a record's file, checked: others may have written it, or half of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fleetml import atomic

_RUN = {"run_id": str, "state": str}
_USUAL: dict[str, Any] = {"pipeline": "", "engine": "", "steps": [], "parameters": {}, "started": 0.0}  # of a run.json
_TIMES = (int, float)


def read_run(path: Path) -> dict[str, Any]:
    """Return a run.json. Raises ValueError for what is none, OSError."""
    document = {**_USUAL, **checked(path, _RUN)}
    for name, usual in _USUAL.items():
        if not isinstance(document[name], _TIMES if isinstance(usual, float) else type(usual)):
            raise _odd(name)
    return document


def _odd(name: str) -> ValueError:
    return ValueError(f"its entry '{name}' is missing or of another type")


def checked(path: Path, shapes: Mapping[str, type]) -> dict[str, Any]:
    """Return the mapping in a JSON file whose entries have these types. Raises ValueError, OSError."""
    try:
        document = json.loads(atomic.read_bytes(path))
    except RecursionError:
        raise ValueError("it is nested without end") from None
    if not isinstance(document, dict):
        raise ValueError("it is no mapping")
    for name, shape in shapes.items():
        if not isinstance(document.get(name), shape):
            raise _odd(name)
    for name in ("started", "finished"):
        if not isinstance(document.get(name) or 0, _TIMES):
            raise _odd(name)
    return document
