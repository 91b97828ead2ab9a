"""Compression: the smallest graph whose error grows by no more than allowed, or the graph as it is."""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING

from fleetml.component import Artifact
from fleetml.errors import InvalidParameter

if TYPE_CHECKING:
    from fleetml.learn.compression.search import Found, Target

log = logging.getLogger(__name__)
# The share of the time of a search that one tuning may take
TUNING = 1 / 12


def compress(
    model: Artifact,
    train: Artifact,
    val: Artifact,
    max_loss: float,
    compressed: Artifact,
    metrics: Artifact,
    target_ratio: float = 0.0,
    target_latency_ms: float = 0.0,
    max_operations: int = 0,
    trials: int = 24,
    seconds: float = 60.0,
    precision: str = "int8",
    seed: int = 0,
    counted: bool = False,
    memory_mb: int = 4096,
) -> None:
    """Write the compressed graph; its metadata say method, ratio, loss and, where nothing was gained, the reason.

    Without a target the ways to quantise are tried. With one (`target_ratio` times smaller, `target_latency_ms` or
    `max_operations` at most) channels and ranks are cut too, and what is left is tuned, in `trials` chains or `seconds`. Where the
    target is not reached, `budget_met` is false, `reason` says why, and the nearest graph within the loss, which is kept in any case,
    is the best effort. `counted`: no clock decides within a trial, so the same seed and trials give the same bytes.
    Chains are tried in a process of their own: one that crashes, hangs, or takes more than `memory_mb` (0: no limit) does not end the search.
    Raises InvalidParameter for a limit below 0 and a contradiction, InvalidGraph for a model that is none.
    """
    from fleetml.learn import graph, windows
    from fleetml.learn.compression.forecasters import ForecasterData
    from fleetml.learn.compression.search import Target, search

    target = Target(max_loss, target_ratio, target_latency_ms, max_operations)
    tuning = time_to_tune(target, seconds, counted)
    original = graph.load(model.path)
    data = ForecasterData(original, windows.load(train.path), windows.load(val.path), tuning, seed)
    found = search(data, target, trials, seconds, seed, precision, counted, memory_mb)
    told = figures(found)
    graph.publish(
        found.graph, compressed, validation_mase=found.figure, original_size_bytes=original.ByteSize(), **told
    )
    metrics.log(**told, validation_mase=round(found.figure, 4), size_bytes=found.graph.ByteSize())


def time_to_tune(target: Target, seconds: float, counted: bool) -> float:
    """Return how long [s] one tuning may take, 0: nothing is tuned. Raises InvalidParameter for a search without time."""
    if not seconds > 0:
        raise InvalidParameter(f"parameter 'seconds' of compression must be positive, got {seconds}; raise it")
    if not target.wanted:
        return 0.0
    return math.inf if counted else TUNING * seconds


def figures(found: Found) -> dict[str, str | float]:
    """Return what metadata, metrics and the page tell of a search, and log each chain; a best effort is named first."""
    for point in found.points:
        said = {name: point[name] for name in ("method", "size_bytes", "loss", "latency_ms")}
        log.info("%(method)s: %(size_bytes)d bytes, loss %(loss).4f, %(latency_ms).3f ms", said)
    if not found.met:
        log.warning("%s", found.reason)
    return {
        "ratio": round(found.ratio, 3),
        "loss": round(found.loss, 5),
        "budget_met": found.met,
        "method": found.method,
        "latency_ms": round(found.latency_ms, 4),
        "trials": len(found.points),
        "reason": found.reason,
    }
