"""The sampler `auto`: ours for a static space and one objective, Optuna's TPE otherwise."""

from __future__ import annotations

from optuna.samplers import BaseSampler

from fleetml.learn.study import samplers
from fleetml.learn.study.settings import StudySettings
from fleetml.learn.study.space import Space


def sampler(space: Space, settings: StudySettings, seed: int) -> BaseSampler:
    """Return it."""
    return samplers.tpe(space, settings, seed)
