"""Anomalies put into real rows: broad ones to learn from, and incidents, which no training saw, to be judged by.

To learn, one to three metrics of a row are replaced by values of other rows, by values far up or down, or by any value of
the range: told apart from true rows, a model learns where true rows lie (noise-contrastive estimation: Gutmann and
Hyvärinen, 2010). To judge, rows get what an operator would name: `INCIDENTS`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

from fleetml.learn.anomaly.samples import METRICS, Numbers

Flags = npt.NDArray[np.bool_]
Random = np.random.Generator
_MOST = 3
CPU, MEMORY, DISK, NETWORK, LATENCY, ERRORS = range(len(METRICS))


def contrast(values: Numbers, drawn: Random) -> tuple[Numbers, Flags]:
    """Return rows with metrics replaced, and which, both [N, 6]. A metric that is absent stays absent."""
    present = np.isfinite(values)
    order = np.where(present, drawn.random(values.shape), np.inf).argsort(axis=1).argsort(axis=1)
    count = drawn.integers(1, _MOST + 1, len(values))[:, None]
    chosen = (order < count) & present
    way = drawn.integers(0, 3, values.shape)
    top = np.nanmax(np.where(present, values, 0), axis=0)
    other = np.stack([_other(column, drawn) for column in values.T], axis=1)
    factor = np.exp(drawn.uniform(1.0, 4.0, values.shape) * drawn.choice((-1, 1), values.shape))
    anywhere = np.expm1(drawn.uniform(0, np.log1p(2 * top + 1), values.shape))
    made = np.select([way == 0, way == 1], [other, (values + 0.01 * top) * factor], anywhere)
    return np.where(chosen, made, values).astype(np.float32), chosen


def _other(column: Numbers, drawn: Random) -> Numbers:
    """Return for each row the value of another one that has it."""
    known = column[np.isfinite(column)]
    return drawn.choice(known, len(column)) if len(known) else column


def _times(low: float, high: float, *metrics: int) -> Callable[[Numbers, Random], Numbers]:
    def run(rows: Numbers, drawn: Random) -> Numbers:
        changed = rows.copy()
        factor = drawn.uniform(low, high, (len(rows), 1))
        floor = np.nanmedian(rows[:, list(metrics)], axis=0)
        changed[:, list(metrics)] = np.maximum(rows[:, list(metrics)], floor) * factor
        return changed

    return run


def _to(low: float, high: float, *metrics: int) -> Callable[[Numbers, Random], Numbers]:
    def run(rows: Numbers, drawn: Random) -> Numbers:
        changed = rows.copy()
        changed[:, list(metrics)] = drawn.uniform(low, high, (len(rows), len(metrics)))
        return changed

    return run


INCIDENTS: Mapping[str, tuple[tuple[int, ...], Callable[[Numbers, Random], Numbers]]] = {
    "cpu_runaway": ((CPU,), _to(97.0, 110.0, CPU)),
    "memory_leak": ((MEMORY,), _to(95.0, 100.0, MEMORY)),
    "disk_storm": ((DISK,), _times(30.0, 300.0, DISK)),
    "network_flood": ((NETWORK,), _times(30.0, 300.0, NETWORK)),
    "slow_answers": ((LATENCY,), _times(8.0, 40.0, LATENCY)),
    "failing": ((ERRORS,), _times(20.0, 100.0, ERRORS)),
    "busy_and_silent": ((CPU, NETWORK), lambda rows, drawn: _to(0, 0, NETWORK)(_to(80, 100, CPU)(rows, drawn), drawn)),
    "everything_up": ((DISK, NETWORK), _times(10.0, 50.0, DISK, NETWORK)),
}
"""Name → the metrics it changes, and how. One that needs a metric the rows lack is left out."""


def incidents(values: Numbers, drawn: Random) -> dict[str, tuple[Numbers, Flags]]:
    """Return for each incident the rows with it, and which metrics it changed; rows that lack those metrics are left out."""
    found = {}
    for name, (metrics, change) in INCIDENTS.items():
        rows = values[np.isfinite(values[:, list(metrics)]).all(axis=1)]
        if len(rows):
            changed = np.zeros(rows.shape, bool)
            changed[:, list(metrics)] = True
            found[name] = (change(rows, drawn).astype(np.float32), changed)
    return found
