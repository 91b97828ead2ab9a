"""Optuna's Gaussian process with other acquisitions: the upper confidence bound, the probability of improvement.

Formulas: Srinivas et al. 2010 (mean + sqrt(beta variance)), Kushner 1964. What `optuna._gp` holds is private: Optuna is bounded.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from optuna._gp import acqf as acquisitions
from optuna.samplers import BaseSampler, GPSampler

BETA = 2.0


class AcquisitionSampler(GPSampler):
    """GPSampler whose log expected improvement is replaced while no trial runs and nothing constrains: `ucb`, `pi`."""

    acquisition = "ei"

    def _optimize_acqf(self, acqf: Any, best_params: np.ndarray | None) -> np.ndarray:
        return super()._optimize_acqf(self._replaced(acqf), best_params)

    def _replaced(self, acqf: Any) -> Any:
        if type(acqf) is not acquisitions.LogEI:  # with running trials or constraints Optuna's own stands
            return acqf
        if self.acquisition == "ucb":
            return acquisitions.UCB(acqf._gpr, acqf.search_space, BETA)
        if self.acquisition == "pi":
            return acquisitions.LogPI(acqf._gpr, acqf.search_space, acqf._threshold)
        return acqf


def sampler(acquisition: str, startup: int, seed: int) -> BaseSampler:
    """Return the sampler with the acquisition `ucb` or `pi`, behind `startup` random points."""
    made = AcquisitionSampler(seed=seed, n_startup_trials=startup, warn_independent_sampling=False)
    made.acquisition = acquisition
    return made
