"""Where a value lies in its distribution, from 0 to 1, and what value lies at a position: numbers, in their logarithm where so told."""

import math
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

Numeric = FloatDistribution | IntDistribution


def position(distribution: BaseDistribution, value: float) -> float:
    """Return where a value lies between the bounds, both included. Raises TypeError for one that has none."""
    distribution = _numeric(distribution)
    low, high = _bounds(distribution)
    at = math.log(value) if distribution.log else float(value)
    return (at - low) / (high - low) if high > low else 0.5


def value_at(distribution: BaseDistribution, place: float) -> Any:
    """Return the value at a position, the nearest step of a stepped one; positions outside are clipped. Raises TypeError."""
    distribution = _numeric(distribution)
    low, high = _bounds(distribution)
    at = low + min(max(place, 0.0), 1.0) * (high - low)
    value = math.exp(at) if distribution.log else at
    if distribution.step:
        value = distribution.low + round((value - distribution.low) / distribution.step) * distribution.step
    value = min(max(value, distribution.low), distribution.high)
    return round(value) if isinstance(distribution, IntDistribution) else value


def count(distribution: BaseDistribution) -> float:
    """Return how many values a distribution has; infinity for a continuous one."""
    if isinstance(distribution, CategoricalDistribution):
        return len(distribution.choices)
    if isinstance(distribution, FloatDistribution | IntDistribution) and distribution.step:
        return math.floor((distribution.high - distribution.low) / distribution.step + 1e-9) + 1
    return math.inf


def nth(distribution: BaseDistribution, index: int) -> Any:
    """Return the value of an index below `count`, which is finite; in the order of the values."""
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices[index]
    distribution = _numeric(distribution)
    return min(distribution.low + index * (distribution.step or 0), distribution.high)


def index_of(distribution: BaseDistribution, value: Any) -> int:
    """Return the index of a value, as `nth` takes it."""
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices.index(value)
    distribution = _numeric(distribution)
    return round((value - distribution.low) / (distribution.step or 1))


def drawn(distribution: BaseDistribution, uniform: float) -> Any:
    """Return the value for a number drawn uniformly from [0, 1): every choice, and every step, as probable as another."""
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices[int(uniform * len(distribution.choices))]
    distribution = _numeric(distribution)
    steps = count(distribution)
    if math.isinf(steps) or distribution.log:
        return value_at(distribution, uniform)
    return value_at(distribution, int(uniform * steps) / max(steps - 1, 1))


def _numeric(distribution: BaseDistribution) -> Numeric:
    if not isinstance(distribution, FloatDistribution | IntDistribution):
        raise TypeError(f"a position needs a float or int distribution, got {distribution!r}")
    return distribution


def _bounds(distribution: Numeric) -> tuple[float, float]:
    low, high = float(distribution.low), float(distribution.high)
    return (math.log(low), math.log(high)) if distribution.log else (low, high)
