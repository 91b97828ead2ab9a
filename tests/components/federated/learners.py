"""Learners so small that what the rounds make of them can be reckoned by hand; some misbehave."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from typing import Any

import numpy as np
from flwr.serverapp import Grid

from components.federated import rounds, strategies
from components.federated.app import REGION, client_app
from components.federated.checkpoint import Checkpoint
from components.federated.configuration import Federation
from components.federated.learner import Arrays, Learner, Task
from components.federated.rounds import Result
from components.federated.simulation import Simulation

BEGIN: Arrays = {"w": np.zeros(2, np.float32)}


class Pull:
    """Moves `w` half of the way to its own place with every pass, and a little by chance; its error is the distance."""

    def __init__(self, place: float, examples: int = 1, chance: float = 0.0) -> None:
        self.place, self.examples, self.chance = np.full(2, place, np.float32), examples, chance

    def judge(self, arrays: Arrays) -> float:
        return float(np.abs(arrays["w"] - self.place).mean())

    def fit(self, arrays: Arrays, task: Task) -> tuple[Arrays, float]:
        values, draws = arrays["w"], np.random.default_rng(task.seed)
        for _ in range(task.epochs):
            values = values + (self.place - values) / 2
        noise = self.chance * draws.standard_normal(2)
        return {"w": (values + noise).astype(np.float32)}, self.judge(arrays)


class Sends(Pull):
    """Sends what it is told to in place of a model."""

    def __init__(self, arrays: Mapping[str, Any]) -> None:
        super().__init__(0)
        self._arrays = arrays

    def fit(self, arrays: Arrays, task: Task) -> tuple[Arrays, float]:
        return self._arrays, 0.0


class Raises(Pull):
    """Fails in the rounds given, in all without."""

    def __init__(self, *numbers: int) -> None:
        super().__init__(0)
        self._numbers = numbers

    def fit(self, arrays: Arrays, task: Task) -> tuple[Arrays, float]:
        if not self._numbers or task.number in self._numbers:
            raise ValueError("no disk left")
        return super().fit(arrays, task)


class Dies(Pull):
    """Its process is killed as it trains."""

    def fit(self, arrays: Arrays, task: Task) -> tuple[Arrays, float]:
        os.kill(os.getpid(), signal.SIGKILL)
        return arrays, 0.0


class Hangs(Pull):
    """Never answers."""

    def fit(self, arrays: Arrays, task: Task) -> tuple[Arrays, float]:
        signal.pause()
        return arrays, 0.0


def simulation(learners: Mapping[str, Learner], workers: int = 2) -> Simulation:
    """Return a grid of these regions."""
    return Simulation(client_app(lambda context: learners[str(context.node_config[REGION])]), sorted(learners), workers)


def train(
    learners: Mapping[str, Learner],
    checkpoint: Checkpoint | None = None,
    workers: int = 2,
    begin: Arrays = BEGIN,
    **chosen: Any,
) -> Result:
    """Return what they train together."""
    federation = Federation(**chosen)
    with simulation(learners, workers) as grid:
        return on(grid, federation, checkpoint, begin)


def on(grid: Grid, federation: Federation, checkpoint: Checkpoint | None = None, begin: Arrays = BEGIN) -> Result:
    return rounds.train(grid, strategies.of(federation), federation, begin, checkpoint)
