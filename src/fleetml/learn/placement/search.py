"""Policy search: weights of the terms that put the most GPUs to use in simulated fillings (Optuna's TPE)."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass

import numpy as np
import onnx

from fleetml.learn.placement import policies
from fleetml.learn.placement.cluster import Episodes
from fleetml.learn.placement.policies import Graph, Weights
from fleetml.learn.placement.simulator import allocation
from fleetml.learn.search_space import Range, Space, defaults

log = logging.getLogger(__name__)

FAMILY = "weighted_terms"
# Fragmentation weighs 1: a common factor changes no order of nodes.
SPACE: Space = {
    "cpu_left": Range(0.002, 0.5, 0.02, log=True),
    "gpu_left": Range(0.002, 0.5, 0.005, log=True),
    "memory_left": Range(0.0, 0.2, 0.03),
    "opened_gpu": Range(0.0, 0.6, 0.3),
    "cpu_shortage": Range(0.0, 1.0, 0.45),
    "idle_gpu": Range(-0.3, 1.0, 0.5),
}


@dataclass(frozen=True)
class Trial:
    """One point of the search; `allocation` is the mean share of the GPUs in use over the training episodes."""

    weights: Weights
    allocation: float
    seconds: float


def build(episodes: Episodes, weights: Weights) -> onnx.ModelProto:
    """Return the graph of these weights."""
    return policies.build(episodes.cluster, {"fragmentation": 1.0, **weights}, FAMILY)


def search(episodes: Episodes, trials: int, timeout_seconds: float, seed: int) -> list[Trial]:
    """Return the trials, best first. The defaults are tried first, and always; then until either budget is spent."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=6)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    study.enqueue_trial(defaults(SPACE))
    done: list[Trial] = []
    begun = time.monotonic()
    while len(done) < trials and (not done or time.monotonic() - begun + done[-1].seconds < timeout_seconds):
        trial, began = study.ask(), time.monotonic()
        weights = {name: float(where.suggest(trial, name)) for name, where in SPACE.items()}
        policy = Graph(build(episodes, weights).SerializeToString())
        share = float(np.mean(allocation(episodes.cluster, episodes.orders, policy)))
        study.tell(trial, share)
        done.append(Trial(weights, share, time.monotonic() - began))
        best = max(each.allocation for each in done)
        log.info("trial %d: %.2f %% of the GPUs in use, best %.2f %%", len(done), 100 * share, 100 * best)
    return sorted(done, key=lambda each: -each.allocation)
