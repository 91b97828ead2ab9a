"""The grid of a space: Optuna's sampler over it, whose end the loop sees."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from optuna.samplers import GridSampler

from fleetml.learn.study.space import Space, distributions

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial, TrialState

# Points along a continuous range, at most
_FINEST = 100


class Grid(GridSampler):
    """Optuna's, which ends `Study.optimize` when all is visited; the loop that asks and tells counts the points itself."""

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Any) -> None:
        return


def axes(space: Space, trials: int) -> dict[str, list[Any]]:
    """Return the values along each axis: all of a discrete one, and as few of the continuous as give `trials` points."""
    known = distributions(space)
    for points in range(2, _FINEST + 1):
        found = {name: _axis(each, points) for name, each in known.items()}
        if math.prod(map(len, found.values())) >= trials:
            break
    return found


def _axis(each: Any, points: int) -> list[Any]:
    from optuna.distributions import CategoricalDistribution, IntDistribution

    if isinstance(each, CategoricalDistribution):
        return list(each.choices)
    if each.single():
        return [each.low]
    steps = [step / (points - 1) for step in range(points)]
    if each.log:
        found = [each.low * (each.high / each.low) ** step for step in steps]
    else:
        found = [each.low + (each.high - each.low) * step for step in steps]
    if isinstance(each, IntDistribution):
        return sorted({each.low + each.step * round((value - each.low) / each.step) for value in found})
    return [min(max(value, each.low), each.high) for value in found]
