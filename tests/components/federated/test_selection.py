"""Who takes part in a round."""

from __future__ import annotations

from collections import Counter

import pytest

from components.federated.configuration import Federation
from components.federated.selection import Client, chosen

TEN = {f"region-{number}": Client(examples=1) for number in range(10)}


@pytest.mark.parametrize("selection", ["random", "size", "speed", "staleness"])
def test_a_fraction_is_rounded_up_and_no_smaller_than_the_minimum(selection: str) -> None:
    assert len(chosen(TEN, Federation(selection=selection, fraction=0.25), 1)) == 3
    assert len(chosen(TEN, Federation(selection=selection, fraction=0.25, min_clients=5), 1)) == 5
    assert chosen(TEN, Federation(selection=selection), 1) == sorted(TEN)


@pytest.mark.parametrize("selection", ["random", "size", "speed", "staleness"])
def test_it_is_by_seed_and_round_alone(selection: str) -> None:
    federation = Federation(selection=selection, fraction=0.3, seed=3)
    shuffled = dict(reversed(TEN.items()))
    assert chosen(TEN, federation, 4) == chosen(shuffled, federation, 4)
    drawn = {tuple(chosen(TEN, federation, number)) for number in range(1, 20)}
    assert len(drawn) > 5


def test_a_larger_region_is_asked_more_often() -> None:
    clients = {**TEN, "large": Client(examples=20)}
    federation = Federation(selection="size", fraction=0.2)
    asked = Counter(name for number in range(1, 101) for name in chosen(clients, federation, number))
    assert asked["large"] > 90
    assert asked["region-0"] < 50


def test_the_quickest_are_asked_and_the_untried_first() -> None:
    clients = {"new": Client(1), "quick": Client(1, 1, 0.5), "slow": Client(1, 1, 9.0)}
    assert chosen(clients, Federation(selection="speed", fraction=0.6), 2) == ["new", "quick"]


def test_who_was_not_asked_for_longest_is_asked() -> None:
    clients = {"first": Client(1, last=1), "second": Client(1, last=2), "third": Client(1, last=3)}
    assert chosen(clients, Federation(selection="staleness", fraction=0.6), 4) == ["first", "second"]


@pytest.mark.parametrize(("regions", "asked"), [(3, 2), (5, 3), (7, 2), (10, 7)])
def test_turns_are_even(regions: int, asked: int) -> None:
    clients = {f"region-{number}": Client(1) for number in range(regions)}
    federation = Federation(selection="staleness", fraction=0.01, min_clients=asked)
    for number in range(1, 31):
        for name in chosen(clients, federation, number):
            clients[name] = Client(1, number, 0.0, clients[name].rounds + 1)
        turns = [each.rounds for each in clients.values()]
        assert max(turns) - min(turns) <= 1
