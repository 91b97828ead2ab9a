"""What the rounds ask of whatever is trained: a model is arrays by name, and a client can fit and judge it."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Arrays = Mapping[str, NDArray[Any]]
"""The trainable arrays of a model, by name, in the order in which they are sent."""


@dataclass(frozen=True)
class Task:
    """What a client is to do with the arrays it gets: `epochs` passes in round `number` of `rounds`.

    `proximal_mu` weighs FedProx' term, mu / 2 times the squared distance from the arrays received; `seed` is the client's own for
    this round.
    """

    epochs: int
    number: int = 1
    rounds: int = 1
    proximal_mu: float = 0.0
    seed: int = 0


class Learner(Protocol):
    """One client's data, and how a model is fitted to and judged by them; nothing random but from the task's seed."""

    @property
    def examples(self) -> int:
        """Number of examples it trains on."""
        ...

    def fit(self, arrays: Arrays, task: Task) -> tuple[Arrays, float]:
        """Return the arrays after training, same names, shapes and types, and the mean loss."""
        ...

    def judge(self, arrays: Arrays) -> float:
        """Return the error of a model on the client's own held-out examples, less is better; NaN where it has none."""
        ...


def seed_of(seed: int, number: int, region: str) -> int:
    """Return the seed of a region in a round: the same for every grid, another for every region and round."""
    return int(np.random.SeedSequence([seed, number, zlib.crc32(region.encode())]).generate_state(1)[0])
