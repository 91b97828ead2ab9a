"""The forecaster as a learner of one region: its network on the region's own windows."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch

from components.federated.learner import Arrays, Task
from fleetml.learn import training
from fleetml.learn.architectures import Architecture
from fleetml.learn.neural import Network
from fleetml.learn.training import Examples, Recipe
from fleetml.learn.windows import Meta, Windows

ARCHITECTURE = Architecture(family="mlp", width=64, depth=2)
_RISE = 0.2  # of all rounds, as fleetml.learn.training has it
_FINE_TUNING = 0.25  # of the learning rate


def network_of(meta: Meta, seed: int) -> Network:
    """Return an untrained network, drawn by the seed."""
    torch.manual_seed(seed)
    return Network(meta, ARCHITECTURE)


def arrays_of(network: Network) -> Arrays:
    """Return a copy of what is trained of a network."""
    return {name: each.detach().numpy().copy() for name, each in network.named_parameters()}


def put(network: Network, arrays: Arrays) -> None:
    """Give a network its parameters. Raises KeyError, or RuntimeError for another shape."""
    with torch.no_grad():
        for name, each in network.named_parameters():
            each.copy_(torch.from_numpy(arrays[name].copy()))


class Forecaster:
    """A region's windows and a network to train on them; judged on `held_out`, by MASE."""

    def __init__(self, windows: Windows, held_out: Windows | None, recipe: Recipe | None = None) -> None:
        self._train = Examples.of(windows)
        self._held_out = Examples.of(held_out) if held_out is not None else None
        self._recipe = recipe or Recipe()
        self._network = network_of(windows.meta, 0)
        self._weights = training.weights(self._network, self._train)

    @property
    def examples(self) -> int:
        return len(self._train.scale)

    def judge(self, arrays: Arrays) -> float:
        if self._held_out is None or not len(self._held_out.scale):
            return math.nan
        put(self._network, arrays)
        return training.validate(self._network, self._held_out)

    def fit(self, arrays: Arrays, task: Task) -> tuple[Arrays, float]:
        """Train by AdamW under a rate that rises and falls over all rounds, as it does over the epochs of a central training."""
        network, recipe = self._network, self._recipe
        put(network, arrays)
        network.train()
        torch.manual_seed(task.seed)
        anchor = [each.detach().clone() for each in network.parameters()]
        optimizer = torch.optim.AdamW(network.parameters(), weight_decay=recipe.weight_decay)
        total, count = 0.0, 0
        for rate, rows in self._steps(task):
            optimizer.param_groups[0]["lr"] = rate
            history, covariates = self._train.history[rows], self._train.covariates[rows]
            loss = (self._train.errors(network(history, covariates), rows) * self._weights[rows]).mean()
            total, count = total + float(loss.detach()) * len(rows), count + len(rows)
            if task.proximal_mu:
                near = zip(network.parameters(), anchor, strict=True)
                loss = loss + task.proximal_mu / 2 * sum(((each - begin) ** 2).sum() for each, begin in near)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
        return arrays_of(network), total / max(count, 1)

    def _steps(self, task: Task) -> Iterator[tuple[float, torch.Tensor]]:
        order = torch.Generator().manual_seed(task.seed)
        batches = [
            rows
            for _ in range(task.epochs)
            for rows in torch.randperm(self.examples, generator=order).split(self._recipe.batch_size)
        ]
        for index, rows in enumerate(batches):
            yield self._rate(task, (index + 1) / len(batches)), rows

    def _rate(self, task: Task, part: float) -> float:
        """Return the learning rate at a part of a round; after the last round a region fits the model to itself, gently."""
        peak = self._recipe.learning_rate
        if task.number > task.rounds:
            return peak * _FINE_TUNING * (1 + math.cos(math.pi * part)) / 2 + 1e-9
        place = (task.number - 1 + part) / task.rounds
        if place < _RISE:
            return peak * place / _RISE
        return peak * (1 + math.cos(math.pi * (place - _RISE) / (1 - _RISE))) / 2 + 1e-9
