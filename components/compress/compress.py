"""Compression: the smallest graph whose error grows by no more than allowed, or the graph as it is."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from fleetml.component import Artifact
from fleetml.errors import InvalidParameter

if TYPE_CHECKING:
    from fleetml.learn.compression.search import Found

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
    seconds: float = 60.0,
    precision: str = "int8",
    seed: int = 0,
) -> None:
    """Write the compressed graph; its metadata say method, ratio, loss and, where nothing was gained, the reason.

    Without a target the ways to quantise are tried. With one (`target_ratio` times smaller, or `target_latency_ms`) channels and
    ranks are cut too, and what is left is tuned, for about `seconds`; `met` says whether the target was reached, `reason` why not.
    The loss is kept in any case. Raises InvalidParameter for a limit below 0, InvalidGraph for a model that is none.
    """
    from fleetml.learn import graph, windows
    from fleetml.learn.compression.forecasters import ForecasterData
    from fleetml.learn.compression.search import Target, search

    target = Target(max_loss, target_ratio, target_latency_ms)
    if not seconds > 0:
        raise InvalidParameter(f"parameter 'seconds' of compression must be positive, got {seconds}; raise it")
    original = graph.load(model.path)
    wanted = bool(target_ratio or target_latency_ms)
    data = ForecasterData(original, windows.load(train.path), windows.load(val.path), TUNING * seconds * wanted, seed)
    found = search(data, target, seconds=seconds, seed=seed, precision=precision)
    told = figures(found, wanted)
    graph.publish(
        found.graph,
        compressed,
        validation_mase=found.figure,
        reason=found.reason,
        original_size_bytes=original.ByteSize(),
        latency_ms=found.latency_ms,
        **told,
    )
    metrics.log(**told, validation_mase=round(found.figure, 4), size_bytes=found.graph.ByteSize(), reason=found.reason)


def figures(found: Found, wanted: bool) -> dict[str, str | float]:
    """Return what is told of a search, and log each chain; `met` where there was a target."""
    for point in found.points:
        said = {name: point[name] for name in ("method", "size_bytes", "loss", "latency_ms")}
        log.info("%(method)s: %(size_bytes)d bytes, loss %(loss).4f, %(latency_ms).3f ms", said)
    told: dict[str, str | float] = {
        "method": found.method,
        "ratio": round(found.ratio, 3),
        "loss": round(found.loss, 5),
    }
    return {**told, "met": found.met} if wanted else told
