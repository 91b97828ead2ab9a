"""The loop over a simulated grid: what it averages, whom it leaves out, when it stops, how it goes on."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from flwr.app import Context, Message
from flwr.clientapp.typing import ClientAppCallable

from components.federated.app import REGION, client_app
from components.federated.checkpoint import Checkpoint
from components.federated.configuration import Federation
from components.federated.learner import Arrays
from components.federated.records import METRICS, WEIGHT
from components.federated.simulation import Simulation
from fleetml.errors import Unavailable
from tests.components.federated.learners import BEGIN, Dies, Hangs, Pull, Raises, Sends, on, simulation, train

ROOT = Path(__file__).parents[3]
THREE = {"east": Pull(0), "north": Pull(4), "west": Pull(8)}


def test_a_round_is_the_mean_of_the_regions_by_their_examples() -> None:
    result = train({"east": Pull(4, examples=3), "west": Pull(8, examples=1)}, rounds=1)
    np.testing.assert_allclose(result.arrays["w"], [2.5, 2.5])  # (3 * 2 + 1 * 4) / 4


def test_a_round_is_the_plain_mean_where_regions_weigh_alike() -> None:
    result = train({"east": Pull(4, examples=3), "west": Pull(8, examples=1)}, rounds=1, weights="equal")
    np.testing.assert_allclose(result.arrays["w"], [3.0, 3.0])


def test_workers_and_their_number_change_no_byte() -> None:
    learners = {f"region-{number}": Pull(number, number + 1, chance=1.0) for number in range(7)}
    one, three = (train(learners, workers=workers, rounds=4, fraction=0.5) for workers in (1, 3))
    assert one.arrays["w"].tobytes() == three.arrays["w"].tobytes()
    assert [it.answered for it in one.history] == [it.answered for it in three.history]


def test_another_seed_gives_another_model() -> None:
    learners = {name: Pull(4, chance=1.0) for name in ("east", "west")}
    one, two = (train(learners, rounds=1, seed=seed) for seed in (1, 2))
    assert one.arrays["w"].tobytes() != two.arrays["w"].tobytes()


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (Raises(), "failed: ValueError: no disk left"),
        (Dies(0), "failed: its process ended (-9)"),
        (Sends({"w": np.array([np.nan, 1], np.float32)}), "sent NaN or infinity in w"),
        (Sends({"w": np.zeros(3, np.float32)}), "sent w as float32 (3,) in place of float32 (2,)"),
        (Sends({"w": np.zeros(2)}), "sent w as float64 (2,) in place of float32 (2,)"),
        (Sends({"v": np.zeros(2, np.float32)}), "sent arrays v in place of w"),
    ],
)
def test_a_region_that_misbehaves_is_left_out_by_name_and_the_others_count(bad: Pull, why: str) -> None:
    result = train({"bad": bad, "east": Pull(4), "west": Pull(8)}, rounds=2, personal_epochs=0)
    assert [dict(each.left_out) for each in result.history] == [{"bad": why}] * 2
    good = train({"east": Pull(4), "west": Pull(8)}, rounds=2, personal_epochs=0)
    assert result.arrays["w"].tobytes() == good.arrays["w"].tobytes()


@pytest.mark.parametrize("examples", [0, 1e308])
def test_a_region_that_weighs_nothing_or_everything_is_left_out(examples: float) -> None:
    bad = Pull(4)
    bad.examples = examples  # type: ignore[assignment]
    result = train({"bad": bad, "east": Pull(4), "west": Pull(8)}, rounds=1)
    assert dict(result.history[0].left_out) == {"bad": f"sent the weight {examples:g}"}


def test_a_region_that_says_it_weighs_more_counts_no_more_where_all_weigh_alike() -> None:
    def claims(message: Message, context: Context, call_next: ClientAppCallable) -> Message:
        answer = call_next(message, context)
        if context.node_config[REGION] == "liar":
            answer.content.metric_records[METRICS][WEIGHT] = 1e15
        return answer

    learners = {"east": Pull(0), "liar": Pull(8)}
    app = client_app(lambda context: learners[str(context.node_config[REGION])], [claims])
    with Simulation(app, sorted(learners)) as grid:
        result = on(grid, Federation(rounds=1, weights="equal"))
    np.testing.assert_allclose(result.arrays["w"], [2.0, 2.0])
    assert result.history[0].error == 4


def test_a_region_that_does_not_answer_in_time_is_late_and_the_others_count() -> None:
    result = train({"east": Pull(4), "slow": Hangs(0), "west": Pull(8)}, workers=3, rounds=1, round_seconds=10)
    assert dict(result.history[0].left_out) == {"slow": "late"}
    assert result.history[0].answered == ["east", "west"]


@pytest.mark.parametrize("selection", ["speed", "staleness"])
def test_a_region_that_always_fails_is_not_asked_in_every_round(selection: str) -> None:
    learners = {"bad": Raises(), "east": Pull(4), "north": Pull(4), "west": Pull(8)}
    result = train(learners, rounds=6, selection=selection, fraction=0.5, min_clients=1)
    assert sum("bad" in each.left_out for each in result.history) in (1, 2, 3)


@pytest.mark.parametrize(("selection", "examples"), [("size", 0), ("size", -1), ("random", np.inf)])
def test_a_region_that_lies_about_its_examples_ends_no_run(selection: str, examples: float) -> None:
    bad = Pull(4)
    bad.examples = examples  # type: ignore[assignment]
    result = train(
        {"bad": bad, "east": Pull(4), "west": Pull(8)}, rounds=2, selection=selection, fraction=0.5, min_clients=1
    )
    assert all(set(each.answered) <= {"east", "west"} for each in result.history)


def test_a_region_comes_back(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        result = train({"back": Raises(1), "east": Pull(4), "west": Pull(8)}, rounds=2)
    assert [each.answered for each in result.history] == [["east", "west"], ["back", "east", "west"]]
    assert "round 1 of 2: error 6.0000 before it, loss 6.0000, 2 of 3 regions" in caplog.text
    assert "left out: back failed: ValueError: no disk left" in caplog.text


def test_too_few_answers_end_the_run_after_its_checkpoint_with_the_remedy(tmp_path: Path) -> None:
    kept = Checkpoint(tmp_path / "kept")
    learners = {"east": Pull(4), "west": Raises(3)}
    with pytest.raises(
        Unavailable, match=r"at least 2 regions must answer.*got 1 in round 3 \(west failed.*round 2 is kept.*run again"
    ):
        train(learners, kept, rounds=4)
    state = kept.read()
    assert state is not None
    assert state.number == 2
    went_on = train({"east": Pull(4), "west": Pull(0)}, kept, rounds=4)
    straight = train({"east": Pull(4), "west": Pull(0)}, rounds=4)
    assert [each.number for each in went_on.history] == [1, 2, 3, 4]
    assert went_on.arrays["w"].tobytes() == straight.arrays["w"].tobytes()


def test_too_few_regions_are_not_waited_for_for_ever() -> None:
    with pytest.raises(Unavailable, match=r"at least 3 regions must be there for a round, got 2 \(east, west\)"):
        train({"east": Pull(4), "west": Pull(8)}, rounds=1, min_clients=3, round_seconds=10)


def test_rounds_end_when_they_no_longer_help() -> None:
    result = train(THREE, rounds=50, patience=2, min_improvement=0.01)
    assert result.ended == "converged"
    assert len(result.history) < 12
    assert train(THREE, rounds=12, min_improvement=0.01).ended == "rounds"


def test_rounds_whose_error_nobody_knows_are_not_converged() -> None:
    class Blind(Pull):
        def judge(self, arrays: Arrays) -> float:
            return np.nan

    result = train({"east": Blind(4), "west": Blind(8)}, rounds=4, patience=2)
    assert (result.ended, len(result.history)) == ("rounds", 4)


def test_each_region_is_judged_by_the_common_its_fitted_and_its_own_model() -> None:
    result = train(THREE, rounds=20, personal_epochs=2, compare_own=True)
    assert set(result.errors) == set(THREE)
    east = result.errors["east"]
    assert east["common"] == pytest.approx(4, abs=1e-3)
    assert east["personal"] == pytest.approx(1, abs=1e-3)  # two passes, each half of the way
    assert east["own"] == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize("strategy", ["fedavg", "fedadam", "krum"])
def test_a_run_killed_mid_round_goes_on_to_the_same_bytes(tmp_path: Path, strategy: str) -> None:
    kept = tmp_path / "kept"
    command = [sys.executable, "-m", "tests.components.federated.killed", str(kept), strategy]
    # What it says ends when the last of its processes has
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False, capture_output=True, timeout=300
    )
    assert done.returncode == -signal.SIGKILL
    state = Checkpoint(kept).read()
    assert state is not None
    assert state.number == 3
    learners = {name: Pull(number, number + 1, chance=1.0) for number, name in enumerate("abcde")}
    chosen = {"strategy": strategy, "rounds": 6, "fraction": 0.7, "min_clients": 3}
    assert (
        train(learners, Checkpoint(kept), **chosen).arrays["w"].tobytes()
        == train(learners, **chosen).arrays["w"].tobytes()
    )


def test_the_grid_may_have_more_regions_later() -> None:
    learners = {"east": Pull(4), "late": Pull(0), "west": Pull(8)}
    with simulation(learners) as grid:
        seen = iter([[1, 3]])
        everyone = grid.get_node_ids
        grid.get_node_ids = lambda: next(seen, everyone())  # type: ignore[method-assign]
        result = on(grid, Federation(rounds=2), begin=BEGIN)
    assert [each.answered for each in result.history] == [["east", "west"], ["east", "late", "west"]]
