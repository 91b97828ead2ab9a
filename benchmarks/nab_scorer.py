"""The NAB score (Lavin and Ahmad, "Evaluating real-time anomaly detection algorithms", ICMLA 2015), from its formulas.

Within a window the earliest alarm earns most; of several the best counts; a window without one costs. An alarm outside costs the
more, the farther behind the last window it is. One threshold over all series, the one with the highest score; nothing
counts in a series' first part (probation). 0 is no alarm at all, 100 an alarm at the first step of every window.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.float64]
_PROBATION, _PROBATION_OF = 0.15, 5000
_STEEP, _FAR = 5.0, 3.0


@dataclass(frozen=True)
class Weights:
    """What a found window earns, a missed one and a false alarm cost (NAB's three profiles)."""

    found: float = 1.0
    missed: float = 1.0
    alarm: float = 0.11


PROFILES: Mapping[str, Weights] = {
    "standard": Weights(),
    "reward_low_FP_rate": Weights(alarm=0.22),
    "reward_low_FN_rate": Weights(missed=2.0),
}


@dataclass(frozen=True)
class Labelled:
    """A series of `length` steps; first and last step of each window, rising."""

    length: int
    windows: Sequence[tuple[int, int]]

    @property
    def probation(self) -> int:
        """How many of the first steps do not count."""
        return int(_PROBATION * min(self.length, _PROBATION_OF))

    def worth(self, weights: Weights) -> tuple[Numbers, npt.NDArray[np.int64]]:
        """Return what an alarm at each step earns (below 0: costs), and its window, -1 outside; both [length]."""
        steps = np.arange(self.length)
        earns, window = np.full(self.length, -1.0), np.full(self.length, -1)
        for number, (first, last) in enumerate(self.windows):
            behind = (steps[last + 1 :] - last) / max(last - first, 1)
            earns[last + 1 :] = np.where(behind > _FAR, -1.0, _sigmoid(behind))
            width = last - first + 1
            earns[first : last + 1] = _sigmoid((steps[first : last + 1] - last - 1) / width) / _sigmoid(np.array(-1.0))
            window[first : last + 1] = number
        return np.where(window >= 0, earns * weights.found, earns * weights.alarm), window


@dataclass(frozen=True)
class Score:
    """The best threshold over all series, what it earns, and that between 0 (no alarm) and 100 (perfect)."""

    threshold: float
    raw: float
    normalised: float


def _sigmoid(place: Numbers) -> Numbers:
    return 2 / (1 + np.exp(_STEEP * place)) - 1


def at(threshold: float, series: Labelled, score: Numbers, weights: Weights) -> float:
    """Return what the alarms of a series at a threshold earn."""
    worth, window = series.worth(weights)
    alarms = np.asarray(score) >= threshold
    alarms[: series.probation] = False
    total = float(worth[alarms & (window < 0)].sum())
    for number in range(len(series.windows)):
        within = alarms & (window == number)
        total += float(worth[within].max()) if within.any() else -weights.missed
    return total


def best(series: Sequence[Labelled], scores: Iterable[Numbers], weights: Weights) -> Score:
    """Return the best score over all thresholds. Raises ValueError where there is no window at all."""
    count = sum(len(one.windows) for one in series)
    if not count:
        raise ValueError("of the series at least one must have a window; without one there is nothing to find")
    steps = [_gains(one, score, weights) for one, score in zip(series, scores, strict=True)]
    thresholds = np.concatenate([found for found, _ in steps])
    order = np.argsort(-thresholds, kind="stable")
    thresholds, gains = thresholds[order], np.concatenate([gain for _, gain in steps])[order]
    last = np.append(thresholds[1:] != thresholds[:-1], True)  # equal scores raise the alarm together
    reached = np.append(0.0, np.cumsum(gains)[last])
    top = int(np.argmax(reached))
    raw = float(reached[top]) - weights.missed * count
    threshold = float(np.append(np.inf, thresholds[last])[top])
    return Score(threshold, raw, normalised(raw, count, weights))


def normalised(raw: float, windows: int, weights: Weights) -> float:
    """Return a raw score between that of no alarm, 0, and the perfect one, 100."""
    return 100 * (raw + weights.missed * windows) / (windows * (weights.found + weights.missed))


def _gains(series: Labelled, score: Numbers, weights: Weights) -> tuple[Numbers, Numbers]:
    """Return thresholds, falling, and what lowering it to each adds to a series' score."""
    worth, window = series.worth(weights)
    steps = np.arange(series.probation, series.length)
    steps = steps[np.argsort(-np.asarray(score, float)[steps], kind="stable")]
    gain = np.where(window[steps] < 0, worth[steps], 0.0)
    for number in range(len(series.windows)):
        inside = np.flatnonzero(window[steps] == number)
        if len(inside):
            top = np.maximum.accumulate(worth[steps[inside]])
            gain[inside] = np.diff(top, prepend=-weights.missed)
    return np.asarray(score, float)[steps], gain
