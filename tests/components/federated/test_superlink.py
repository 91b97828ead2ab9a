"""Rounds over a real SuperLink and nodes that are slow, drop out, come back, lie and die: all processes of their own."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from flwr.proto.control_pb2 import RegisterNodeRequest
from flwr.supercore.control.control_http_client import ControlHttpClient
from flwr.supercore.interceptors import RuntimeVersionHttpInterceptor

from components.federated import keys, rounds, strategies
from components.federated.app import REGION, client_app
from components.federated.checkpoint import Checkpoint
from components.federated.configuration import Federation
from components.federated.rounds import Result
from components.federated.simulation import Simulation
from components.federated.superlink import SuperLinkGrid
from fleetml.errors import ConfigurationError, Unavailable
from tests.components.federated.real import Real, until
from tests.components.federated.region import START, Line

NAMES = ("east", "north", "south", "west")


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Real]:
    real = Real(tmp_path_factory.mktemp("federation"), NAMES)
    try:
        real.start_link()
        for name in NAMES:
            real.start_node(name)
        yield real
    finally:
        real.end()


@pytest.fixture
def real(started: Real) -> Real:
    """Four honest regions that are there; those that a test killed are started again."""
    for name in NAMES:
        started.mood(name, "")
        if started.processes[name].poll() is not None:
            started.start_node(name)
    with started.grid() as grid:
        until(lambda: len(grid.regions()) == len(NAMES), "all regions are there")
    return started


def federation(**given: Any) -> Federation:
    """A run of two rounds that all four regions must not miss, unless told otherwise."""
    return Federation(**{"rounds": 2, "min_clients": 4, "round_seconds": 200.0, "personal_epochs": 0, **given})


def train(grid: SuperLinkGrid, asked: Federation, checkpoint: Path | None = None) -> Result:
    return rounds.train(grid, strategies.of(asked), asked, START, Checkpoint(checkpoint))


def test_real_regions_learn_to_the_byte_what_simulated_ones_do(real: Real) -> None:
    asked = federation(rounds=3, personal_epochs=1, seed=5)
    with real.grid() as grid:
        found = train(grid, asked)
    lines = {name: Line(name) for name in NAMES}
    app = client_app(lambda context: lines[str(context.node_config[REGION])])
    with Simulation(app, NAMES) as simulated:
        expected = rounds.train(simulated, strategies.of(asked), asked, START)
    assert {name: values.tobytes() for name, values in found.arrays.items()} == {
        name: values.tobytes() for name, values in expected.arrays.items()
    }
    assert found.errors == expected.errors
    assert found.arrays["weights"] == pytest.approx([1, -2, 3], abs=0.1)


def test_a_round_goes_on_without_a_slow_region_which_is_welcome_back(real: Real, tmp_path: Path) -> None:
    real.mood("south", "wait")
    with real.grid() as grid:
        without = train(grid, federation(rounds=1, min_clients=1, round_seconds=8.0), tmp_path / "state")
        real.mood("south", "")
        real.release("south")
        again = train(grid, federation(rounds=2), tmp_path / "state")
    assert without.history[0].left_out["south"] == "late"
    assert sorted(again.history[1].answered) == sorted(NAMES)


@pytest.mark.parametrize(
    ("mood", "said"),
    [("nan", "sent NaN or infinity in bias"), ("shape", "sent weights as float32 (3, 3) in place of float32 (3,)")],
)
def test_a_region_that_lies_is_left_out_by_name(real: Real, mood: str, said: str) -> None:
    real.mood("west", mood)
    with real.grid() as grid:
        found = train(grid, federation(rounds=1, min_clients=3))
    assert found.history[0].left_out == {"west": said}


@pytest.mark.parametrize("strategy", ["trimmed_mean", "krum"])
def test_a_robust_strategy_bears_huge_values(real: Real, strategy: str) -> None:
    real.mood("west", "huge")
    malicious = {"malicious": 0} if strategy == "trimmed_mean" else {"malicious": 0, "min_clients": 3}
    with real.grid() as grid:
        found = train(grid, federation(strategy=strategy, trim=0.3, rounds=3, **malicious))
    assert found.arrays["weights"] == pytest.approx([1, -2, 3], abs=0.3)


def test_a_region_that_is_killed_while_it_trains_is_left_out_and_comes_back(real: Real, tmp_path: Path) -> None:
    real.mood("east", "die")
    started = real.log("east").count("node waits")
    with real.grid() as grid:
        without = train(grid, federation(rounds=1, min_clients=1, round_seconds=8.0), tmp_path / "state")
        assert real.processes["east"].wait() == -9
        real.mood("east", "")
        real.start_node("east")
        until(lambda: real.log("east").count("node waits") > started, "the region is back")
        again = train(grid, federation(rounds=2), tmp_path / "state")
    assert "east" in without.history[0].left_out
    assert sorted(again.history[1].answered) == sorted(NAMES)


def test_a_round_survives_a_link_that_is_killed_and_started_again(real: Real) -> None:
    real.mood("north", "wait")
    found: list[Result] = []
    with real.grid() as grid:
        rounds_of_it = threading.Thread(target=lambda: found.append(train(grid, federation())))
        rounds_of_it.start()
        gate = (real.folder / "north.gate").open("w")  # opens once it trains
        address = real.address
        real.kill("link")
        assert real.start_link(int(address.rpartition(":")[2])) == address
        real.mood("north", "")
        gate.close()
        rounds_of_it.join()
    assert [sorted(each.answered) for each in found[0].history] == [sorted(NAMES)] * 2
    assert "started again" in real.log("north")


def test_a_driver_that_dies_goes_on_after_its_last_whole_round(real: Real, tmp_path: Path) -> None:
    with real.grid() as grid:
        whole = train(grid, federation(rounds=3))
        train(grid, federation(rounds=3, patience=1, min_improvement=1.0), tmp_path / "state")
    with real.grid() as grid:
        rest = train(grid, federation(rounds=3), tmp_path / "state")
    assert [each.number for each in rest.history] == [1, 2, 3]
    assert rest.arrays["weights"].tobytes() == whole.arrays["weights"].tobytes()


def test_too_few_answers_end_the_run_with_a_remedy(real: Real) -> None:
    real.mood("west", "nan")
    with real.grid() as grid, pytest.raises(Unavailable, match=r"got 3 in round 1 \(west sent NaN.*lower min_clients"):
        train(grid, federation())


def test_a_region_whose_key_was_not_admitted_is_refused(real: Real) -> None:
    keys.make_region(real.folder, "stranger")
    real.mood("stranger", "")
    real.start_node("stranger")
    assert real.processes.pop("stranger").wait() != 0
    assert "the key whose .pub lies in its folder regions" in real.log("stranger")


def test_a_region_is_admitted_and_expelled_while_the_link_runs(real: Real) -> None:
    public = keys.make_region(real.folder, "late")
    admitted = real.folder / "link/regions/late.pub"
    real.mood("late", "")
    with real.grid() as grid:
        admitted.write_bytes(public.read_bytes())
        until(lambda: "region late was admitted" in real.log("link"), "the link admits it")
        real.start_node("late")
        until(lambda: "late" in grid.regions().values(), "it is there")
        admitted.unlink()
        assert real.processes.pop("late").wait() != 0
        assert "late" not in grid.regions().values()


def test_a_node_trusts_no_other_authority(real: Real, tmp_path: Path) -> None:
    keys.make_link(tmp_path / "other", ["127.0.0.1"])
    node = ["node", real.address, "--key", real.folder / "east.key", "--authority", tmp_path / "other/authority.pem"]
    refused = real.start("doubter", ["-m", "tests.components.federated.doubter", *map(str, node[1:])])
    del real.processes["doubter"]
    assert refused.wait() == ConfigurationError.exit_code
    assert "must show a certificate of the authority that is trusted here" in real.log("doubter")


def test_a_run_is_started_by_nobody_without_the_secret(real: Real) -> None:
    authority = (real.folder / "link/authority.pem").read_bytes()
    with pytest.raises(ConfigurationError, match=r"driver\.secret"):
        SuperLinkGrid(real.address, authority, "guessed", patience=5.0)


def test_nobody_admits_himself(real: Real, tmp_path: Path) -> None:
    public = keys.make_region(tmp_path, "intruder").read_bytes()
    client = ControlHttpClient.from_server_address(
        real.address,
        False,
        (real.folder / "link/authority.pem").read_bytes(),
        interceptors=[RuntimeVersionHttpInterceptor(component_name="fleetml")],
    )
    with client, pytest.raises(httpx.HTTPStatusError, match="401"):
        client.RegisterNode(RegisterNodeRequest(public_key=public))


def test_a_link_that_does_not_answer_is_told_with_the_remedy(real: Real) -> None:
    authority = (real.folder / "link/authority.pem").read_bytes()
    with pytest.raises(Unavailable, match="start it: fleetml federation link"):
        SuperLinkGrid("127.0.0.1:9", authority, "secret", patience=0.1)


def test_two_runs_at_once_do_not_take_each_other_s_answers(real: Real) -> None:
    with real.grid() as one:
        first = one.run.run_id
        found = train(one, federation(rounds=1))
        assert one.run.run_id == first
    assert np.isfinite(found.history[0].error)
