"""Which sampler a name stands for."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from fleetml.errors import InvalidParameter
from fleetml.learn.study.settings import StudySettings
from fleetml.learn.study.space import Space, conditional

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler

Made = Callable[[Space, StudySettings, int], "BaseSampler"]


def made(space: Space, settings: StudySettings, seed: int) -> BaseSampler:
    """Return the sampler that `settings` name. Raises InvalidParameter for a space it cannot search."""
    return _MADE[settings.sampler](space, settings, seed)


def _random(space: Space, settings: StudySettings, seed: int) -> BaseSampler:
    from optuna.samplers import RandomSampler

    return RandomSampler(seed=seed)


def _qmc(space: Space, settings: StudySettings, seed: int) -> BaseSampler:
    from optuna.samplers import QMCSampler

    # All processes of a study walk one sequence: its scrambling is of the study, not of the process.
    return QMCSampler(
        qmc_type="sobol",
        scramble=True,
        seed=settings.seed,
        warn_independent_sampling=False,
        warn_asynchronous_seeding=False,
    )


def tpe(space: Space, settings: StudySettings, seed: int) -> BaseSampler:
    """Return Optuna's sampler by densities of good and bad points, grouped where the space is conditional."""
    from optuna.samplers import TPESampler

    return TPESampler(
        seed=seed,
        multivariate=True,
        group=conditional(space),
        constant_liar=settings.workers > 1 or bool(settings.storage),
        n_startup_trials=startup(space, settings),
    )


def _gp(space: Space, settings: StudySettings, seed: int) -> BaseSampler:
    from optuna.samplers import GPSampler

    return GPSampler(
        seed=seed,
        n_startup_trials=startup(space, settings),
        deterministic_objective=False,
        warn_independent_sampling=False,
    )


def _cmaes(space: Space, settings: StudySettings, seed: int) -> BaseSampler:
    from optuna.samplers import CmaEsSampler

    return CmaEsSampler(seed=seed, n_startup_trials=1, warn_independent_sampling=False)


def _nsga2(space: Space, settings: StudySettings, seed: int) -> BaseSampler:
    from optuna.samplers import NSGAIISampler

    return NSGAIISampler(seed=seed, population_size=max(4, min(50, settings.trials // 4)))


def startup(space: Space, settings: StudySettings) -> int:
    """Return how many random points come first: 10, fewer of a short study."""
    return max(2, min(10, settings.trials // 3))


def _grid(space: Space, settings: StudySettings, seed: int) -> BaseSampler:
    if conditional(space):
        raise InvalidParameter(
            "a grid needs a space of which every parameter is always asked, got a conditional one; search one family, or use random"
        )
    from fleetml.learn.study.grid import Grid, axes

    return Grid(axes(space, settings.trials), seed=settings.seed)


def most_trials(space: Space, settings: StudySettings, starts: int) -> int:
    """Return how many trials there can be: those of the budget, of a grid no more than it has points."""
    if settings.sampler != "grid":
        return settings.trials
    from fleetml.learn.study.grid import axes

    return min(settings.trials, starts + math.prod(map(len, axes(space, settings.trials).values())))


def _auto(space: Space, settings: StudySettings, seed: int) -> BaseSampler:
    from fleetml.learn.study import auto

    return auto.sampler(space, settings, seed)


def _acquisition(space: Space, settings: StudySettings, seed: int) -> BaseSampler:
    from fleetml.learn.study import acquisitions

    return acquisitions.sampler(settings.sampler.removeprefix("gp_"), startup(space, settings), seed)


def _evolution(space: Space, settings: StudySettings, seed: int) -> BaseSampler:
    from fleetml.learn.study.evolution import EvolutionSampler

    return EvolutionSampler(seed)


def _reinforce(space: Space, settings: StudySettings, seed: int) -> BaseSampler:
    from fleetml.learn.study.reinforce import ReinforceSampler

    return ReinforceSampler(seed)


_MADE: dict[str, Made] = {
    "auto": _auto,
    "random": _random,
    "qmc": _qmc,
    "grid": _grid,
    "tpe": tpe,
    "gp": _gp,
    "gp_ucb": _acquisition,
    "gp_pi": _acquisition,
    "cmaes": _cmaes,
    "nsga2": _nsga2,
    "evolution": _evolution,
    "reinforce": _reinforce,
}
