"""The sampler `auto`: ours for a static space, Optuna's TPE, grouped, for a conditional one.

`START` points of a scrambled Sobol sequence, then the point of the largest expected improvement of a Gaussian process
(`gaussian`), found among random points and the neighbours of the best and climbed from there. Values are warped: the worse half
is drawn in to the normal quantiles of its ranks, so that values of other orders of magnitude do not hide the better half. Running trials count as what the process expects of them; constraints multiply the improvement by the
probability that they hold; several objectives are weighed anew for each trial (Knowles 2006, ParEGO). No point is asked twice
while a new one is found. Each proposal depends on the seed, the trial's number and the study's history alone.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.trial import FrozenTrial, TrialState
from scipy.special import ndtri
from scipy.stats import qmc, rankdata

from fleetml.learn.study import samplers
from fleetml.learn.study.candidates import Candidates, Point
from fleetml.learn.study.gaussian import Floats, Gaussian, log_improvement, log_probability
from fleetml.learn.study.settings import StudySettings
from fleetml.learn.study.space import Space, conditional, distributions

if TYPE_CHECKING:
    from optuna import Study

START = 8
# Of the objectives' sum, beside the largest of them (ParEGO)
_SUM = 0.05


def sampler(space: Space, settings: StudySettings, seed: int) -> BaseSampler:
    """Return it; `seed` is of this process, the Sobol sequence is of the study."""
    if conditional(space):
        return samplers.tpe(space, settings, seed)
    return AutoSampler(distributions(space), settings.seed, seed)


class AutoSampler(BaseSampler):
    """See above; `space` is known before the first trial, so its order is the order of all points here."""

    def __init__(self, space: dict[str, BaseDistribution], seed: int, own_seed: int) -> None:
        self.space = {name: each for name, each in space.items() if not each.single()}
        self.seed, self.own_seed = seed, own_seed
        self._independent = RandomSampler(seed=own_seed)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Return the whole space."""
        return self.space

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Return a value drawn uniformly: of what has one value only."""
        return self._independent.sample_independent(study, trial, param_name, param_distribution)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Return the next point."""
        if not search_space:
            return {}
        others = [each for each in study.get_trials(deepcopy=False) if each.number != trial.number]
        told = [each for each in others if each.state == TrialState.COMPLETE]
        candidates = Candidates(search_space, np.random.default_rng((self.own_seed, trial.number)))
        points = [candidates.point_of(each.params) for each in others if search_space.keys() <= each.params.keys()]
        candidates.seen = set(points)
        return candidates.params_of(self._proposed(study, trial.number, told, others, candidates))

    def _proposed(
        self, study: Study, number: int, told: list[FrozenTrial], others: list[FrozenTrial], candidates: Candidates
    ) -> Point:
        if number < START or len(told) < 2:
            return candidates.unseen(self._sobol(number, candidates))
        losses = _losses(study, told, candidates.random)
        points = [candidates.point_of(each.params) for each in told]
        order = np.lexsort((losses, _violations(told)))
        ranked = [points[index] for index in order]
        running = [
            candidates.point_of(each.params)
            for each in others
            if each.state == TrialState.RUNNING and candidates.space.keys() <= each.params.keys()
        ]
        return candidates.climb(_Improvement(candidates, points, losses, told, running), ranked)

    def _sobol(self, number: int, candidates: Candidates) -> Point:
        """Return a point of the sequence; resumed and parallel processes walk the same one."""
        sequence = qmc.Sobol(len(candidates.space), scramble=True, seed=self.seed)
        return candidates.drawn(sequence.random(2 ** math.ceil(math.log2(number + 2)))[number])


class _Improvement:
    """The logarithm of the expected improvement, times the probability that each constraint holds, at points."""

    def __init__(
        self,
        candidates: Candidates,
        points: list[Point],
        losses: Floats,
        told: list[FrozenTrial],
        running: list[Point],
    ) -> None:
        self.candidates = candidates
        coded, choice = candidates.coded(points), candidates.choice
        values = _warped(losses)
        self.process = Gaussian(coded, values, choice)
        if running:  # as good as they are expected to be (Ginsbourger et al. 2010, the kriging believer)
            also = candidates.coded(running)
            believed = self.process.predict(also)[0] * self.process.scale + self.process.mean
            self.process = Gaussian(
                np.vstack([coded, also]), np.append(values, believed), choice, self.process.parameters
            )
        feasible = _violations(told) == 0
        known = self.process.values[: len(told)]
        self.best = float(known[feasible].min()) if feasible.any() else math.inf
        self.constraints = [_Constraint(coded, figures, choice) for figures in _constraints(told)]

    def __call__(self, points: list[Point]) -> Floats:
        coded = self.candidates.coded(points)
        if math.isinf(self.best):  # nothing is feasible yet: only that counts
            said = np.zeros(len(points))
        else:
            said = log_improvement(*self.process.predict(coded), self.best)
        return said + sum((each(coded) for each in self.constraints), np.zeros(len(points)))


class _Constraint:
    def __init__(self, coded: Floats, figures: Floats, choice: npt.NDArray[np.bool_]) -> None:
        self.process = Gaussian(coded, figures, choice)
        self.most = -self.process.mean / self.process.scale

    def __call__(self, coded: Floats) -> Floats:
        return log_probability(*self.process.predict(coded), self.most)


def _losses(study: Study, told: list[FrozenTrial], random: np.random.Generator) -> Floats:
    """Return one loss a trial; several objectives are ranked, and weighed at random."""
    signs = np.array([1.0 if each.name == "MINIMIZE" else -1.0 for each in study.directions])
    values = signs * np.array([each.values for each in told])
    if values.shape[1] == 1:
        return np.asarray(values[:, 0])
    ranks = rankdata(values, axis=0) / len(values)
    weighed = random.dirichlet(np.ones(len(signs))) * ranks
    return np.asarray(weighed.max(axis=1) + _SUM * weighed.sum(axis=1))


def _warped(losses: Floats) -> Floats:
    """Return the better half in its own deviations below the median, the worse half at most as far off as its ranks."""
    ranks = ndtri((rankdata(losses) - 0.5) / len(losses))
    middle = np.median(losses)
    scale = losses[losses <= middle].std() or 1.0
    apart = (losses - middle) / scale
    return np.asarray(np.where(losses <= middle, apart, np.minimum(apart, ranks)))


def _violations(told: list[FrozenTrial]) -> Floats:
    return np.array([sum(max(0.0, value) for value in each.constraints.values()) for each in told])


def _constraints(told: list[FrozenTrial]) -> list[Floats]:
    """Return the figures of each constraint, of those that every trial told."""
    names = set.intersection(*(set(each.constraints) for each in told))
    return [np.array([each.constraints[name] for each in told]) for name in sorted(names)]
