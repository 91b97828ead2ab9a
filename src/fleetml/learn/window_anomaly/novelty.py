"""One series: is what comes now unlike anything of its past, and more so than anything lately?

The distance of a value, and of the last `pattern` values, to the nearest of the `past` before it, each in multiples of the largest
such distance among the last `peak` steps (as conformal detectors compare a score with the scores before it: Burnaev and Ishimtsev,
2016). An alarm is given once: a step says 0 unless it is beyond each of the last `quiet` steps.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx

from fleetml.errors import InvalidParameter
from fleetml.learn import scorer
from fleetml.learn.builder import Builder
from fleetml.learn.window_anomaly.mahalanobis import KIND

FAMILY = "novelty"
MOST = 4.0
"""A distance of as many times the largest counts as no more."""
Numbers = npt.NDArray[np.float64]
_SMALL = 1e-12


@dataclass(frozen=True)
class Settings:
    """Steps that a score takes, and what of them is looked at [steps]; patterns' lengths; what counts as no distance [sd].

    The defaults, the threshold too, are those that are best on all of NAB (benchmarks/nab.py).
    Raises InvalidParameter where `history` is too short for the others.
    """

    history: int = 1536
    past: int = 900
    peak: int = 400
    quiet: int = 200
    patterns: tuple[int, ...] = (1, 8)
    least: float = 0.1
    threshold: float = 0.825

    def __post_init__(self) -> None:
        needed = self.past + self.shown + max(self.patterns) - 1
        if self.history < needed:
            raise InvalidParameter(f"history must be at least {needed} steps, got {self.history}; raise it")

    @property
    def shown(self) -> int:
        """Of how many of the last steps the distance is needed."""
        return self.peak + self.quiet + 1


def score(values: npt.ArrayLike, settings: Settings) -> Numbers:
    """Return the score of each step of a series [N], [N]; what was before its first step counts as equal to that."""
    series = np.asarray(values, np.float64)
    filled = np.concatenate([np.full(settings.history - 1, series[0]), series])
    distances = [nearest(filled, pattern, settings.past) for pattern in settings.patterns]
    return alarms(distances, spread(filled, settings.history), settings)


def alarms(distances: list[Numbers], spreads: Numbers, settings: Settings) -> Numbers:
    """Return the scores [N] from `nearest` of each pattern [history - 1 + N] and `spread` [N]."""
    total = np.zeros((len(spreads), settings.quiet + 1))
    for distance in distances:
        tail = distance[-(len(spreads) + settings.shown - 1) :]
        peaks = _rolling_max(tail[:-1], settings.peak)
        least = settings.least * spreads[:, None] + _SMALL
        total += np.minimum(
            _runs(tail[settings.peak :], settings.quiet + 1) / (_runs(peaks, settings.quiet + 1) + least), MOST
        )
    total /= len(distances) * settings.threshold
    return np.where(total[:, -1] > total[:, :-1].max(axis=1), total[:, -1], 0.0)


def nearest(values: Numbers, pattern: int, past: int) -> Numbers:
    """Return the root mean square difference of each step's last `pattern` values to the nearest of `past` earlier ones, [N].

    inf at the first steps, which have no past.
    """
    found = np.full(len(values), np.inf)
    for lag in range(1, min(past, len(values) - pattern) + 1):
        square = (values[lag:] - values[:-lag]) ** 2
        if pattern > 1:
            total = np.concatenate([[0.0], np.cumsum(square)])
            square = np.maximum(total[pattern:] - total[:-pattern], 0) / pattern
        at = found[lag + pattern - 1 :]
        np.minimum(at, square, out=at)
    return np.sqrt(found)


def spread(filled: Numbers, history: int) -> Numbers:
    """Return the standard deviation of each run of `history` values."""
    moved = filled - filled.mean()
    first, second = (np.concatenate([[0.0], np.cumsum(moved**power)]) for power in (1, 2))
    mean, square = ((total[history:] - total[:-history]) / history for total in (first, second))
    return np.sqrt(np.maximum(square - mean**2, 0))


def graph(settings: Settings, column: str = "") -> onnx.ModelProto:
    """Return it as history [batch, history] of the metric `column` -> score [batch, 1]; from 1 on it is an anomaly. Raises InvalidGraph."""
    built = Builder()
    mean = built.mean("history")
    moved = built.op("Sub", "history", mean)
    spreads = built.op("Sqrt", built.mean(built.op("Mul", moved, moved)))
    scaled = built.op("Div", moved, built.op("Max", spreads, built.constant(_SMALL)))
    squares = _squares(built, scaled, settings)
    each = [
        _against_peak(built, _nearest(built, squares, pattern, settings), settings) for pattern in settings.patterns
    ]
    total = built.op("Div", built.op("Sum", *each), built.constant(len(each) * settings.threshold))
    last = built.last(total, 1)
    before = _columns(built, total, 0, settings.quiet)
    fresh = built.op("Greater", last, built.op("ReduceMax", before, built.integers(1), keepdims=1))
    built.op("Where", fresh, last, built.constant(0.0), name="score")
    model = built.model({"history": ["batch", settings.history]}, {"score": ["batch", 1]}, FAMILY)
    about = {"threshold": 1.0, "rows": settings.history, "columns": [column] if column else []}
    return scorer.finish(model, KIND, FAMILY, about, vars(settings))


def _squares(built: Builder, scaled: str, settings: Settings) -> str:
    """Return the squared difference of each of the last steps to each of its past, [batch, 1, steps, past]."""
    steps = settings.shown + max(settings.patterns) - 1
    length = steps + settings.past
    tail = built.last(scaled, length)
    # Copies of a row, cut one value longer than it is, begin one value later each: far faster than a Gather
    copies = built.op("Expand", built.op("Unsqueeze", tail, built.integers(1)), built.integers(1, steps + 1, 1))
    flat = built.op("Reshape", copies, built.integers(-1, (steps + 1) * length))
    later = built.op("Reshape", _columns(built, flat, 0, steps * (length + 1)), built.integers(-1, steps, length + 1))
    past = built.op("Slice", later, built.integers(0), built.integers(settings.past), built.integers(2))
    now = built.op("Unsqueeze", built.last(tail, steps), built.integers(2))
    away = built.op("Sub", now, past)
    return built.op("Unsqueeze", built.op("Mul", away, away), built.integers(1))


def _nearest(built: Builder, squares: str, pattern: int, settings: Settings) -> str:
    """Return the distance to the nearest past of each of the last steps, [batch, shown]."""
    if pattern > 1:
        squares = built.op("AveragePool", squares, kernel_shape=[pattern, 1])
    least = built.op("ReduceMin", squares, built.integers(1, 3), keepdims=0)
    return built.op("Sqrt", built.last(least, settings.shown))


def _against_peak(built: Builder, distance: str, settings: Settings) -> str:
    """Return each of the last quiet + 1 distances in multiples of the largest of the `peak` before it."""
    before = built.op("Unsqueeze", _columns(built, distance, 0, settings.shown - 1), built.integers(1))
    peaks = built.op("MaxPool", before, kernel_shape=[settings.peak])
    least = built.op("Add", built.op("Squeeze", peaks, built.integers(1)), built.constant(settings.least))
    return built.op("Min", built.op("Div", built.last(distance, settings.quiet + 1), least), built.constant(MOST))


def _columns(built: Builder, values: str, start: int, end: int) -> str:
    return built.op("Slice", values, built.integers(start), built.integers(end), built.integers(1))


def _rolling_max(values: Numbers, length: int) -> Numbers:
    """Return the largest of each run of `length` values, by doubling."""
    found, have = values, 1
    while have < length:
        more = min(have, length - have)
        found, have = np.maximum(found[:-more], found[more:]), have + more
    return found


def _runs(values: Numbers, length: int) -> Numbers:
    return np.lib.stride_tricks.sliding_window_view(values, length)
