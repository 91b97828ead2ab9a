"""Trains one neural architecture into a candidate: timed before it is trained, judged as its graph."""

import math
from collections.abc import Mapping

import torch

from fleetml.learn import export, search, training
from fleetml.learn.architectures import FAMILIES, architecture
from fleetml.learn.neural import Network
from fleetml.learn.search import Candidate, Report, TooSlow
from fleetml.learn.search_space import Hyperparameters, Space
from fleetml.learn.windows import Windows

# Steps run side by side: with more threads than cores torch slows down tenfold.
_THREADS = 1


class NeuralTrainer:
    """A `search.Trainer` over the families of networks; a latency limit is checked before any training is paid for."""

    families: Mapping[str, Space] = FAMILIES

    def __init__(self, train: Windows, val: Windows, seed: int, latency_limit_ms: float = math.inf) -> None:
        torch.set_num_threads(_THREADS)
        self.meta = train.meta
        self.val = search.require_scored(val, "val")
        self.train_examples = training.Examples.of(search.require_scored(train, "train"))
        self.val_examples = training.Examples.of(self.val)
        self.seed, self.limit = seed, latency_limit_ms

    def train(self, family: str, hyperparameters: Hyperparameters, deadline: float, report: Report) -> Candidate:
        """Train one architecture. Raises TooSlow before training, with its untrained error, when its graph exceeds the limit."""
        network = self.untrained(family, hyperparameters)
        try:
            search.check_latency(export.from_torch(network, self.meta, hyperparameters), self.limit)
        except TooSlow as slow:
            raise slow.judged(training.validate(network, self.val_examples)) from None
        return self.trained(network, hyperparameters, deadline, report)

    def untrained(self, family: str, hyperparameters: Hyperparameters) -> Network:
        """Return the network of a point of the space, with the weights that its training begins with."""
        torch.manual_seed(self.seed)
        return Network(self.meta, architecture(family, hyperparameters))

    def trained(self, network: Network, hyperparameters: Hyperparameters, deadline: float, report: Report) -> Candidate:
        """Train a network by the recipe among its hyperparameters, prove its graph equal, judge that. Raises TooSlow."""
        recipe = training.Recipe(
            learning_rate=float(hyperparameters["learning_rate"]), weight_decay=float(hyperparameters["weight_decay"])
        )
        training.fit(network, self.train_examples, self.val_examples, recipe, self.seed, deadline, report)
        graph = export.from_torch(network, self.meta, hyperparameters)
        export.check_equal(graph, self.val, training.predict(network, self.val))
        return search.judge(graph, self.val, self.limit)
