"""Numbers for dense models: missing ones filled and flagged, skewed ones straightened, all scaled and bounded."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from onnx import TensorProto

from fleetml.learn.builder import Builder

Floats = npt.NDArray[np.float32]
WIDEST = 8.0  # deviations from the mean a dense model is shown at most: serving may send anything
_FAR = 1e4  # spreads from the median a number is taken at most before it is straightened
_SKEWED = 1.0
_POWERS = (-1.0, -0.5, 0.001, 0.5, 1.5, 2.001)  # of Yeo and Johnson; 1 changes nothing, 0 and 2 are limits
_MOST_ROWS = 5000  # rows the power is chosen on


@dataclass(frozen=True)
class Numbers:
    """Results [batch, D] of a block of numbers; `flags` tell which of `missed` are missing, "" where training misses none."""

    tree: str
    dense: str
    flags: str
    missed: npt.NDArray[np.int64]


def add(made: Builder, name: str, values: Floats) -> Numbers:
    """Add the preparation of numbers float32 [batch, D], learnt from training values [N, D] (NaN, infinite: missing)."""
    infinite = made.op("IsInf", name)
    known = made.op("Where", infinite, made.constant([[np.nan]]), name)
    absent = made.op("IsNaN", known)
    gaps = ~np.isfinite(values)
    median, spread = _level(np.where(gaps, np.nan, values.astype(np.float64)))
    # A column that training never missed has no way of its own for NaN inside a tree.
    tree = made.op("Where", absent, made.constant([np.where(gaps.any(axis=0), np.nan, median)]), known)
    filled = made.op("Where", absent, made.constant([median]), known)
    centred = made.op("Div", made.op("Sub", filled, made.constant([median])), made.constant([spread]))
    bounded = made.op("Max", made.op("Min", centred, made.constant([_FAR])), made.constant([-_FAR]))
    now = np.clip((np.where(gaps, median, values) - median) / spread, -_FAR, _FAR)
    missed = np.flatnonzero(gaps.any(axis=0) & ~gaps.all(axis=0))
    flags = made.op("Cast", made.columns(absent, missed), to=TensorProto.FLOAT) if len(missed) else ""
    return Numbers(tree, _straight(made, bounded, now), flags, missed)


def _level(values: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return median and spread of each column: the middle half's width, else the deviation, else 1."""
    median, spread = np.zeros(values.shape[1]), np.ones(values.shape[1])
    for at, column in enumerate(values.T):
        known = column[~np.isnan(column)]
        if len(known):
            low, median[at], high = np.quantile(known, (0.25, 0.5, 0.75))
            spread[at] = high - low or known.std() or 1.0
    return median, np.maximum(spread, 1e-6 * np.maximum(np.abs(median), 1e-6))


def yeo_johnson(values: npt.NDArray[np.float64], power: float) -> npt.NDArray[np.float64]:
    """Return the transformation of Yeo and Johnson (2000) for a power that is neither 0 nor 2."""
    above, below = np.maximum(values, 0) + 1, 1 - np.minimum(values, 0)
    return np.asarray((above**power - 1) / power - (below ** (2 - power) - 1) / (2 - power))


def _straight(made: Builder, name: str, values: npt.NDArray[np.float64]) -> str:
    """Skewed columns by the power that leaves the least skew; the others as they are."""
    sample = values[:: max(1, len(values) // _MOST_ROWS)]
    powers = np.array([_power(column) for column in sample.T])
    if (powers == 1).all():
        return name
    above = made.op("Add", made.op("Max", name, made.constant([0.0])), made.constant([1.0]))
    below = made.op("Sub", made.constant([1.0]), made.op("Min", name, made.constant([0.0])))
    halves = []
    for base, power in ((above, powers), (below, 2 - powers)):
        raised = made.op("Sub", made.op("Pow", base, made.constant([power])), made.constant([1.0]))
        halves.append(made.op("Div", raised, made.constant([power])))
    return made.op("Sub", *halves)


def _power(column: npt.NDArray[np.float64]) -> float:
    least = abs(_skew(column))
    if least < _SKEWED:
        return 1.0
    skews = {power: abs(_skew(yeo_johnson(column, power))) for power in _POWERS}
    best = min(skews, key=skews.__getitem__)
    return best if skews[best] < least else 1.0


def _skew(column: npt.NDArray[np.float64]) -> float:
    centred = column - column.mean()
    deviation = centred.std()
    return float(np.mean(centred**3) / deviation**3) if deviation > 0 else 0.0


def level(rows: Floats) -> tuple[Floats, Floats]:
    """Return mean and deviation of the columns of training rows [N, F]."""
    mean = rows.mean(axis=0, dtype=np.float64).astype(np.float32)
    return mean, np.maximum(rows.std(axis=0, dtype=np.float64), 1e-6).astype(np.float32)


def scaled(made: Builder, name: str, mean: Floats, deviation: Floats) -> str:
    """Add mean 0, deviation 1, bounded, of a result [batch, F]."""
    centred = made.op("Div", made.op("Sub", name, made.constant([mean])), made.constant([deviation]))
    return made.op("Max", made.op("Min", centred, made.constant([WIDEST])), made.constant([-WIDEST]))


def scaled_rows(rows: Floats, mean: Floats, deviation: Floats) -> Floats:
    """Return what `scaled` makes of rows [N, F]."""
    return np.clip((rows - mean) / deviation, -WIDEST, WIDEST)
