"""Who takes part in a round."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np

from components.federated.configuration import Federation


@dataclass(frozen=True)
class Client:
    """What is known of a region: its examples, the last round it was asked in (0: none), how long it took then [s], in how many rounds."""

    examples: int
    last: int = 0
    seconds: float = 0.0
    rounds: int = 0


def count(present: int, federation: Federation) -> int:
    """Return how many of the regions that are there take part in a round."""
    return min(present, max(federation.min_clients, math.ceil(federation.fraction * present)))


def chosen(
    present: Mapping[str, Client], federation: Federation, number: int, able: Collection[str] | None = None
) -> list[str]:
    """Return the regions of a round, by name: all, or a fraction of those present but at least the minimum; of those that are `able` (all).

    random: by chance; size: by chance, in proportion to their examples; speed: the quickest, of whom the untried are taken
    to be; staleness: those whose last round is longest ago, of whom those asked in fewer rounds, so that none gets a turn before all others
    had as many. Ties are broken by chance, and chance by (seed, round).
    """
    names = sorted(present if able is None else able)
    wanted = count(len(present), federation)
    if wanted >= len(names):
        return names
    draws = np.random.default_rng([federation.seed, number])
    if federation.selection == "size":
        share = np.array([max(present[name].examples, 1) for name in names], float)
        return sorted(draws.choice(names, wanted, replace=False, p=share / share.sum()).tolist())
    drawn = [names[index] for index in draws.permutation(len(names))]
    if federation.selection == "speed":
        drawn.sort(key=lambda name: present[name].seconds)
    if federation.selection == "staleness":
        drawn.sort(key=lambda name: (present[name].last, present[name].rounds))
    return sorted(drawn[:wanted])
