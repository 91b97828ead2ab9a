"""Reading documents field by field; every fault names its place: ``tasks[1].retry: …``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from fleetml.errors import InvalidPipeline
from fleetml.errors import nearest as nearest
from fleetml.pipeline.values import shown


class InvalidWorkflow(InvalidPipeline):
    """A workflow, a training job or a deployment breaks its schema or contradicts itself."""


def mapping(value: Any, known: Iterable[str], place: str, required: Iterable[str] = ()) -> Mapping[str, Any]:
    """Return a mapping that holds nothing but `known` names, and all that is required. Raises InvalidWorkflow."""
    known = list(known)
    if not isinstance(value, dict):
        raise InvalidWorkflow(f"{place or 'the document'}: must be a mapping, got {shown(value)}; write NAME: VALUE")
    dot = f"{place}." if place else ""
    for name in value:
        if name not in known:
            told = nearest(str(name), known) or f"; it has {', '.join(known)}"
            raise InvalidWorkflow(f"{dot}{name}: is no field here{told}")
    for name in required:
        if value.get(name) is None:
            raise InvalidWorkflow(f"{dot}{name}: is missing; give it")
    return value


def text(value: Any, place: str) -> str:
    """Return a text that is not empty. Raises InvalidWorkflow."""
    if not isinstance(value, str) or not value.strip():
        raise InvalidWorkflow(f"{place}: must be a text, got {shown(value)}; correct it")
    return value


def truth(value: Any, place: str) -> bool:
    """Return true or false. Raises InvalidWorkflow."""
    if not isinstance(value, bool):
        raise InvalidWorkflow(f"{place}: must be true or false, got {shown(value)}; correct it")
    return value


def number(value: Any, place: str, least: float = 0, whole: bool = False) -> float:
    """Return a number from `least`. Raises InvalidWorkflow."""
    fits = isinstance(value, int | float) and not isinstance(value, bool) and least <= value < float("inf")
    if not fits or (whole and value != int(value)):
        what = "a whole number" if whole else "a number"
        raise InvalidWorkflow(f"{place}: must be {what} from {least:g}, got {shown(value)}; correct it")
    return value


def items(value: Any, place: str) -> list[Any]:
    """Return a list. Raises InvalidWorkflow."""
    if not isinstance(value, list):
        raise InvalidWorkflow(f"{place}: must be a list, got {shown(value)}; write [..]")
    return value
