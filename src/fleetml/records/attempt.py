"""The record of one attempt of a step."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fleetml.frozen import fields, frozen
from fleetml.records import document

_ATTEMPT = {"step": str, "number": int, "state": str}
_PARTS = ("outcome", "failure", "usage", "cost", "parts", "inputs", "figures")  # mappings or nothing


@frozen
class Attempt:
    """One attempt of a step, or the note of an engine that it did not run (skipped, upstream_failed).

    State "running": its command runs, or its engine died meanwhile. `outcome` is the JSON of docs/adr/0001; `result`
    the name of its folder under results/ (of a running one: that it will have); `key` the cache key ("" when uncacheable) and `parts` the digests it was
    made of; `inputs` the parameters and the artifacts' URIs; `figures` the first entries of its metrics.
    """

    step: str
    number: int
    state: str
    started: float = 0.0
    finished: float = 0.0
    reason: str = ""
    outcome: Mapping[str, Any] | None = None
    failure: Mapping[str, Any] | None = None
    usage: Mapping[str, float] | None = None
    cost: Mapping[str, Any] | None = None
    key: str = ""
    parts: Mapping[str, str] | None = None
    inputs: Mapping[str, Any] | None = None
    figures: Mapping[str, Any] | None = None
    result: str = ""

    @property
    def cached(self) -> bool:
        return bool(self.outcome and self.outcome.get("cached"))

    @property
    def seconds(self) -> float:
        """Wall seconds so far, or in all."""
        return max(0.0, (self.finished or time.time()) - self.started) if self.started else 0.0

    @classmethod
    def read(cls, path: Path) -> Attempt:
        """Return an attempt; of one whose file is damaged nothing is known, so its step is run again."""
        try:
            found = document.checked(path, _ATTEMPT)
        except ValueError as error:
            return cls("", 0, "damaged", reason=f"{path} is damaged: {error}")
        if odd := [name for name in _PARTS if not isinstance(found.get(name) or {}, dict)]:
            return cls("", 0, "damaged", reason=f"{path} is damaged: its entry '{odd[0]}' is of another type")
        return cls(**{field.name: found[field.name] for field in fields(cls) if field.name in found})
