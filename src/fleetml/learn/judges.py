"""Who judges the graphs of a kind that scores rows: on what, by what measure, beside which baselines."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any, Protocol

from fleetml.errors import InvalidParameter

MODULES = {
    "placement": "fleetml.learn.placement.judge",
    "anomaly": "fleetml.learn.anomaly.judge",
    "window_anomaly": "fleetml.learn.window_anomaly.judge",
}
OWN_NAMES = ("window_anomaly",)
"""Kinds whose models are asked by raw tensors, each under a name of its own, so that many live side by side."""


class Judge(Protocol):
    """`MEASURE` is the figure of `score` that decides. `held_out` is what `read` returned."""

    MEASURE: str
    MORE_IS_BETTER: bool

    def read(self, test: Path) -> Any:
        """Return what is held out. Raises InvalidData."""
        ...

    def about(self, held_out: Any) -> dict[str, Any]:
        """Return what the scores document says of it."""
        ...

    def baselines(self, held_out: Any) -> dict[str, bytes]:
        """Return the graphs that a learnt one has to beat, by name."""
        ...

    def score(self, held_out: Any, graph: bytes) -> dict[str, Any]:
        """Return the figures of a graph. Raises InvalidGraph for one that is of another kind."""
        ...


def of(kind: str) -> Judge:
    """Return the judge of a kind. Raises InvalidParameter for one that has none."""
    if kind not in MODULES:
        raise InvalidParameter(f"kind must be one of {', '.join(MODULES)}, got {kind!r}; correct it")
    judge: Any = importlib.import_module(MODULES[kind])
    return judge
