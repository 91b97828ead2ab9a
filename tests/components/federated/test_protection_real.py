"""Secure aggregation, privacy and smaller updates over a real link: four nodes, each a process of its own."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from components.federated import protection, rounds
from components.federated.app import REGION, client_app
from components.federated.configuration import Federation
from components.federated.simulation import Simulation
from fleetml.errors import Unavailable
from tests.components.federated.real import Real, until
from tests.components.federated.region import START, Line

NAMES = ("east", "north", "south", "west")


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Real]:
    real = Real(tmp_path_factory.mktemp("protected"), NAMES)
    try:
        real.start_link()
        for name in NAMES:
            real.start_node(name)
        with real.grid() as grid:
            until(lambda: len(grid.regions()) == len(NAMES), "all regions are there")
        yield real
    finally:
        real.end()


def train(real: Real, **chosen: Any) -> rounds.Result:
    federation = Federation(**{"rounds": 1, "min_clients": 3, "round_seconds": 60.0, "personal_epochs": 0, **chosen})
    protected = protection.Protection(federation)
    with real.grid() as grid:
        return rounds.train(grid, protected.strategy, federation, START, channel=protected.channel)


def openly(names: tuple[str, ...]) -> rounds.Result:
    federation = Federation(rounds=1, min_clients=3, personal_epochs=0)
    protected = protection.Protection(federation)
    lines = {name: Line(name) for name in names}
    app = client_app(lambda context: lines[str(context.node_config[REGION])])
    with Simulation(app, names, 1) as grid:
        return rounds.train(grid, protected.strategy, federation, START, channel=protected.channel)


def test_the_secure_sum_of_real_regions_is_right(real: Real) -> None:
    found, expected = train(real, secure=True), openly(NAMES)
    assert found.history[0].answered == sorted(NAMES)
    for name, values in expected.arrays.items():
        np.testing.assert_allclose(found.arrays[name], values, atol=1e-5)


def test_a_region_that_dies_while_it_trains_is_not_in_the_secure_sum(real: Real) -> None:
    real.mood("west", "die")
    found, expected = train(real, secure=True, round_seconds=20.0), openly(("east", "north", "south"))
    assert list(found.history[0].left_out) == ["west"]
    for name, values in expected.arrays.items():
        np.testing.assert_allclose(found.arrays[name], values, atol=1e-5)
    real.mood("south", "nan")
    with pytest.raises(Unavailable):
        train(real, secure=True, round_seconds=20.0)
    real.mood("south", "")


def test_a_secure_round_survives_a_link_that_is_killed_and_started_again(real: Real) -> None:
    real.kill("west") if "west" in real.processes else None
    real.mood("west", "")
    real.start_node("west")
    with real.grid() as grid:
        until(lambda: len(grid.regions()) == len(NAMES), "all regions are there")
    real.mood("north", "wait")
    found: list[rounds.Result] = []
    asked = threading.Thread(target=lambda: found.append(train(real, secure=True, round_seconds=120.0)))
    asked.start()
    gate = (real.folder / "north.gate").open("w")  # opens once it trains
    address = real.address
    real.kill("link")
    assert real.start_link(int(address.rpartition(":")[2])) == address
    real.mood("north", "")
    gate.close()
    asked.join()
    assert found[0].history[0].answered == sorted(NAMES)
    for name, values in openly(NAMES).arrays.items():
        np.testing.assert_allclose(found[0].arrays[name], values, atol=1e-5)


def test_local_noise_of_real_regions_is_never_the_same(real: Real) -> None:
    asked: dict[str, Any] = {"privacy": "local", "epsilon": 8.0, "weights": "equal", "clip": 0.5}
    first, second = train(real, **asked), train(real, **asked)
    assert first.ledger
    assert not np.array_equal(first.arrays["weights"], second.arrays["weights"])


def test_smaller_updates_of_real_regions_are_read_back(real: Real) -> None:
    found = train(real, update_bits=16)
    whole = train(real)
    np.testing.assert_allclose(found.arrays["weights"], whole.arrays["weights"], atol=1e-2)
