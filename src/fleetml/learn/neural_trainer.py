"""Trains one neural architecture into a candidate: timed before it is trained, judged as its graph."""

import math
from collections.abc import Mapping

import torch

from fleetml.learn import export, search, training
from fleetml.learn.architectures import Architecture
from fleetml.learn.neural import Network
from fleetml.learn.search import Candidate, Report
from fleetml.learn.search_space import Hyperparameters, Range, Space
from fleetml.learn.windows import Windows

_RECIPE: dict[str, Range] = {
    "learning_rate": Range(5e-4, 2e-2, 4e-3, log=True),
    "dropout": Range(0.0, 0.3, 0.1),
    "weight_decay": Range(1e-4, 1e-1, 1e-3, log=True),
}
FAMILIES: dict[str, Space] = {
    "mlp": {"width": Range(32, 256, 128, log=True), "depth": Range(1, 3, 1), **_RECIPE},
    "gru": {"width": Range(16, 128, 64, log=True), **_RECIPE},
    "tcn": {"width": Range(8, 48, 32, log=True), "depth": Range(2, 4, 3), **_RECIPE},
}
# Widths are rounded to this many channels: what vector units and INT8 kernels like.
_LANES = 8
# Steps run side by side: with more threads than cores torch slows down tenfold.
_THREADS = 1


class NeuralTrainer:
    """A `search.Trainer` over MLP, TCN and GRU; a latency limit is checked before any training is paid for."""

    families: Mapping[str, Space] = FAMILIES

    def __init__(self, train: Windows, val: Windows, seed: int, latency_limit_ms: float = math.inf) -> None:
        torch.set_num_threads(_THREADS)
        self.meta = train.meta
        self.val = search.require_scored(val, "val")
        self.train_examples = training.Examples.of(search.require_scored(train, "train"))
        self.val_examples = training.Examples.of(self.val)
        self.seed, self.limit = seed, latency_limit_ms

    def train(self, family: str, hyperparameters: Hyperparameters, deadline: float, report: Report) -> Candidate:
        """Train one architecture. Raises TooSlow before training when its untrained graph exceeds the limit."""
        architecture = Architecture(
            family=family,
            width=_LANES * max(1, round(hyperparameters["width"] / _LANES)),
            depth=int(hyperparameters.get("depth", 1)),
            dropout=float(hyperparameters["dropout"]),
        )
        torch.manual_seed(self.seed)
        network = Network(self.meta, architecture)
        search.check_latency(export.from_torch(network, self.meta, hyperparameters), self.limit)
        recipe = training.Recipe(
            learning_rate=float(hyperparameters["learning_rate"]), weight_decay=float(hyperparameters["weight_decay"])
        )
        training.fit(network, self.train_examples, self.val_examples, recipe, self.seed, deadline, report)
        graph = export.from_torch(network, self.meta, hyperparameters)
        export.check_equal(graph, self.val, training.predict(network, self.val))
        return search.judge(graph, self.val, self.limit)
