"""Privacy, secure aggregation and smaller updates, in the rounds themselves."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import ConfigRecord, Context, Message, MessageType, MetricRecord, RecordDict
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity

from components.federated import leaving, masks, privacy, protection, report, rounds, selection, spent
from components.federated.app import REGION, SIMULATED, client_app
from components.federated.channel import BudgetSpent
from components.federated.checkpoint import Checkpoint, State
from components.federated.configuration import Federation
from components.federated.learner import Arrays, Task
from components.federated.records import ARRAYS, CONFIG, METRICS, WEIGHT, packed, unpacked
from components.federated.simulation import Simulation
from fleetml.errors import InvalidData, Unavailable

EIGHT_ROUNDS = privacy.multiplier_for(8.0, 1e-5, 8)
BEFORE = {"w": np.zeros((40, 25), np.float32), "b": np.zeros(10, np.float32)}


class Pull:
    """Halves the way to its target; judges by the distance to it."""

    def __init__(self, target: float, fails_in: int = 0) -> None:
        self.target, self.fails_in, self.examples = np.float32(target), fails_in, 10 * int(target) + 10

    def fit(self, arrays: Arrays, task: Task) -> tuple[Arrays, float]:
        if task.number == self.fails_in:
            raise ValueError("out of order")
        return {name: (it + (self.target - it) / 2).astype(np.float32) for name, it in arrays.items()}, 0.5

    def judge(self, arrays: Arrays) -> float:
        return float(np.abs(arrays["w"] - self.target).mean())


def train(
    path: Path | None = None,
    targets: tuple[float, ...] = (1, 2, 3, 6),
    fails: dict[int, int] | None = None,
    **chosen: Any,
) -> tuple[rounds.Result, protection.Protection]:
    federation = Federation(**{"rounds": 3, "personal_epochs": 0, **chosen})
    protected = protection.Protection(federation, seeded=True)
    learners = {f"r{n}": Pull(it, (fails or {}).get(n, 0)) for n, it in enumerate(targets)}
    app = client_app(lambda context: learners[str(context.node_config[REGION])], protection.MODS)
    with Simulation(app, sorted(learners), 1) as grid:
        kept = Checkpoint(path)
        return rounds.train(grid, protected.strategy, federation, BEFORE, kept, protected.channel), protected


def distance(one: rounds.Result, other: rounds.Result) -> float:
    return max(float(np.abs(one.arrays[name] - other.arrays[name]).max()) for name in BEFORE)


@pytest.mark.parametrize("strategy", ["fedavg", "fedadam"])
def test_secure_rounds_learn_what_open_ones_do(strategy: str) -> None:
    openly, _ = train(strategy=strategy, min_clients=3)
    securely, _ = train(strategy=strategy, min_clients=3, secure=True)
    assert distance(openly, securely) < 1e-5
    for one, other in zip(openly.history, securely.history, strict=True):
        assert (one.error, one.loss) == pytest.approx((other.error, other.loss), abs=1e-3)


def test_a_region_that_drops_out_of_a_secure_round_is_left_out_by_name() -> None:
    result, _ = train(fails={1: 2}, secure=True, min_clients=3)
    assert [each.answered for each in result.history] == [
        ["r0", "r1", "r2", "r3"],
        ["r0", "r2", "r3"],
        ["r0", "r1", "r2", "r3"],
    ]
    assert "out of order" in result.history[1].left_out["r1"]
    openly, _ = train(fails={1: 2}, min_clients=3)
    assert distance(openly, result) < 1e-5


class Restarted(Simulation):
    """Its link is started again before the stages given are sent: another run, of which regions remember nothing."""

    def __init__(self, *given: Any, stages: Sequence[str]) -> None:
        super().__init__(*given)
        self._stages = list(stages)

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        sent = list(messages)
        stage = sent[0].content.config_records.get(masks.SECURE, {}).get("stage")
        if self._stages and stage == self._stages[0]:
            self._stages.pop(0)
            self._run = Run.create_empty(self.run.run_id + 1)
            for context in self._contexts.values():
                context.state = RecordDict()
        return super().send_and_receive(sent, timeout=timeout)


def restarted(*stages: str) -> rounds.Result:
    federation = Federation(rounds=2, personal_epochs=0, min_clients=3, secure=True)
    protected = protection.Protection(federation, seeded=True)
    learners = {f"r{n}": Pull(n) for n in range(4)}
    app = client_app(lambda context: learners[str(context.node_config[REGION])], protection.MODS)
    with Restarted(app, sorted(learners), 1, stages=stages) as grid:
        return rounds.train(grid, protected.strategy, federation, BEFORE, channel=protected.channel)


@pytest.mark.parametrize("stage", masks.STAGES)
def test_a_link_that_is_started_again_in_a_secure_round_ends_no_run(stage: str) -> None:
    openly, _ = train(targets=(0, 1, 2, 3), rounds=2, min_clients=3)
    securely = restarted(stage)
    assert [len(each.answered) for each in securely.history] == [4, 4]
    assert distance(openly, securely) < 1e-5


def test_a_secure_round_is_made_once_more_and_not_for_ever() -> None:
    with pytest.raises(Unavailable, match="nothing of this round was unmasked"):
        restarted(masks.VECTOR, masks.VECTOR)


@pytest.mark.parametrize(
    ("chosen", "tolerance"), [({"update_bits": 16}, 1e-3), ({"update_bits": 8}, 1e-6), ({"update_share": 0.1}, 5.0)]
)
def test_smaller_updates_learn_nearly_the_same_from_fewer_bytes(chosen: dict[str, Any], tolerance: float) -> None:
    whole, _ = train()
    small, _ = train(**chosen)
    assert distance(whole, small) < tolerance
    assert small.history[-1].received_bytes < 0.75 * whole.history[-1].received_bytes
    assert distance(small, train(**chosen)[0]) == 0


def test_central_noise_is_as_much_as_epsilon_asks_for() -> None:
    """One round, updates of zero: what the model is then is the noise on the sum over the number of regions."""
    result, protected = train(targets=(0, 0, 0, 0), rounds=1, privacy="central", epsilon=2.0, weights="equal", clip=0.5)
    expected = privacy.multiplier_for(2.0, 1e-5, 1) * 0.5 / 4
    assert np.std(result.arrays["w"]) == pytest.approx(expected, rel=0.1)
    assert protected.figures(result.ledger)["epsilon_spent"] == pytest.approx(2, abs=1e-3)


def test_no_region_moves_the_sum_by_more_than_the_clip() -> None:
    """The same noise twice, and one region that changes from nothing to as much as it can."""
    options: dict[str, Any] = {"rounds": 1, "privacy": "central", "epsilon": 2.0, "weights": "equal", "clip": 0.5}
    still, _ = train(targets=(0, 0, 0, 0), **options)
    pulled, _ = train(targets=(0, 0, 0, 1e6), **options)
    moved = privacy.length({name: pulled.arrays[name] - still.arrays[name] for name in BEFORE})
    assert moved == pytest.approx(0.5 / 4, rel=1e-3)


def test_a_region_that_drops_out_does_not_change_what_the_sum_is_divided_by() -> None:
    options: dict[str, Any] = {"rounds": 1, "privacy": "central", "epsilon": 2.0, "weights": "equal", "clip": 0.5}
    still, _ = train(targets=(0, 0, 0, 0), **options)
    without, _ = train(targets=(0, 0, 0, 0), fails={2: 1}, **options)
    assert without.history[0].answered == ["r0", "r1", "r3"]
    assert distance(still, without) < 1e-6


def test_central_privacy_is_the_same_under_masks() -> None:
    options: dict[str, Any] = {"privacy": "central", "epsilon": 8.0, "weights": "equal", "clip": 5.0, "min_clients": 3}
    openly, securely = train(**options)[0], train(secure=True, **options)[0]
    assert distance(openly, securely) < 1e-4
    assert openly.ledger == securely.ledger


def test_a_resumed_run_goes_on_with_what_it_has_spent(tmp_path: Path) -> None:
    """Round 2 dies after it was begun: it is spent, so that of the three rounds planned one is no longer to be had."""
    options: dict[str, Any] = {"privacy": "central", "epsilon": 8.0, "weights": "equal", "min_clients": 4}
    with pytest.raises(Exception, match="at least 4 regions must answer"):
        train(tmp_path / "kept", fails={1: 2}, **options)
    state = Checkpoint(tmp_path / "kept").read()
    assert state is not None
    assert state.number == 1
    assert {spent[0] for spent in state.ledger.values()} == {2}
    result, protected = train(tmp_path / "kept", **options)
    assert result.ended == "budget"
    assert len(result.history) == 2
    assert protected.figures(result.ledger)["epsilon_spent"] == 8
    assert protected.figures(result.ledger)["private_rounds"] == 3


def test_a_run_whose_budget_is_spent_does_not_begin(tmp_path: Path) -> None:
    options: dict[str, Any] = {"rounds": 1, "privacy": "central", "epsilon": 8.0, "weights": "equal", "min_clients": 4}
    with pytest.raises(Exception, match="must answer"):
        train(tmp_path / "kept", fails={1: 1}, **options)
    with pytest.raises(BudgetSpent, match="one more round of region 'r0' would spend epsilon"):
        train(tmp_path / "kept", **options)


def test_regions_that_take_turns_spend_only_in_theirs() -> None:
    result, protected = train(
        rounds=4, privacy="central", epsilon=8.0, weights="equal", selection="staleness", fraction=0.5
    )
    assert len(result.history) == 4
    assert {spent[0] for spent in result.ledger.values()} == {2}
    assert protected.figures(result.ledger)["epsilon_spent"] == 8


def test_noise_is_for_the_turns_that_min_clients_gives_each_region() -> None:
    """Of three regions two are asked in each of ten rounds, though the fraction says one: each has up to seven turns, not one."""
    result, protected = train(
        targets=(1, 2, 3),
        rounds=10,
        privacy="central",
        epsilon=8.0,
        weights="equal",
        selection="staleness",
        fraction=0.1,
    )
    assert (result.ended, len(result.history)) == ("rounds", 10)
    assert sorted(spent[0] for spent in result.ledger.values()) == [6, 7, 7]
    assert protected.figures(result.ledger)["epsilon_spent"] == 8


def test_the_last_turns_have_as_many_regions_as_all_others() -> None:
    """Of ten, five a round: in the fourth the five of the third have had both of their turns."""
    result, _ = train(
        targets=tuple(range(10)),
        rounds=4,
        privacy="central",
        epsilon=8.0,
        weights="equal",
        selection="staleness",
        fraction=0.5,
    )
    assert [len(each.answered) for each in result.history] == [5, 5, 5, 5]
    assert {spent[0] for spent in result.ledger.values()} == {2}


def test_a_run_that_died_after_its_last_round_says_what_noise_it_made(tmp_path: Path) -> None:
    options: dict[str, Any] = {"rounds": 4, "privacy": "central", "epsilon": 8.0, "weights": "equal"}
    options |= {"selection": "staleness", "fraction": 0.5}
    (first, told), (again, after) = train(tmp_path / "kept", **options), train(tmp_path / "kept", **options)
    assert after.figures(again.ledger) == told.figures(first.ledger)
    assert told.figures(first.ledger)["noise_multiplier"] == round(privacy.multiplier_for(8.0, 1e-5, 2), 4)


def test_regions_that_have_spent_all_stay_out_while_the_others_are_enough(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Region r0 has begun two rounds that died: it has three turns of five left, the others go on without it."""
    options: dict[str, Any] = {"rounds": 5, "privacy": "central", "epsilon": 8.0, "weights": "equal", "min_clients": 3}
    squares = privacy.multiplier_for(8.0, 1e-5, 5) ** -2
    Checkpoint(tmp_path / "kept").write(State(0, BEFORE, ledger={"r0": [2, 2 * squares]}))
    with caplog.at_level(logging.INFO):
        result, _ = train(tmp_path / "kept", **options)
    assert result.ended == "rounds"
    assert [len(each.answered) for each in result.history] == [4, 4, 4, 3, 3]
    assert caplog.text.count("region r0 has spent its epsilon") == 1
    Checkpoint(tmp_path / "kept").write(State(0, BEFORE, ledger={"r0": [2, 2 * squares]}))
    assert train(tmp_path / "kept", **{**options, "min_clients": 4})[0].ended == "budget"


def test_regions_that_come_later_lower_the_noise_of_the_turns_that_are_left() -> None:
    """Two regions begin 50 rounds, in which each has 50 turns; a hundred go on, ten a round, in which each has five."""
    asked = Federation(
        rounds=50, privacy="central", epsilon=8.0, weights="equal", selection="staleness", fraction=0.1, min_clients=2
    )
    protected = protection.Protection(asked)
    channel, ledger, known = protected.channel, dict[str, Any](), dict[str, selection.Client]()
    noise = []
    for number in range(1, 51):
        known |= {
            f"r{each}": selection.Client(1) for each in range(2 if number == 1 else 100) if f"r{each}" not in known
        }
        able = channel.able(sorted(known), ledger)
        chosen = selection.chosen(known, asked, number, able)
        ledger = dict(channel.admit(chosen, ledger))
        known |= {name: selection.Client(1, number, 1.0, known[name].rounds + 1) for name in chosen}
        assert len(chosen) == (2 if number == 1 else 10)
        assert protected.mechanism
        noise.append(protected.mechanism.multiplier)
    five = privacy.multiplier_for(8.0, 1e-5, 5)
    assert noise[0] == pytest.approx(five * 10**0.5)
    assert noise[1:] == pytest.approx([five * (50 / 49) ** 0.5] * 49)
    assert 7.9 < protected.figures(ledger)["epsilon_spent"] <= 8.0


def test_few_regions_are_warned_and_the_page_says_what_passed(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    with caplog.at_level(logging.WARNING):
        result, protected = train(privacy="local", epsilon=8.0, weights="equal")
    assert sum("longest update that clipping leaves" in each.message for each in caplog.records) == 1
    report.write(tmp_path / "page.html", Federation(), result, 1.0, 1.0, protected)
    assert protected.figures(result.ledger)["noise"] == "seeded"
    assert (
        protection.Protection(Federation(privacy="central", epsilon=8.0, weights="equal")).figures({})["noise"]
        == "unknown"
    )
    page = (tmp_path / "page.html").read_text()
    assert "<td>epsilon spent</td><td>8.0</td>" in page
    assert "longest update that clipping leaves" in page
    assert "whoever knows it can take it off" in page
    row = "<td>leaves</td><td>train</td><td>change</td><td>w</td><td>float32</td><td>40x25</td><td class='n'>12</td>"
    assert row in page


class Node:
    """A real region's side of local privacy; `own`: the folder of its key, with an epsilon of its own."""

    def __init__(self, own: Path | None = None, **config: Any) -> None:
        if own:
            with spent.begun(own / "east.spent"):
                pass
            config |= {leaving.SPENT: str(own / "east.spent")}
        TaskIdentity.task_id, TaskIdentity.run_id, TaskIdentity.node_id = 1, 1, 0
        self.context = Context(
            run_id=1, node_id=7, node_config={REGION: "east", **config}, state=RecordDict(), run_config={}
        )

    def answer(
        self,
        change: float = 0.0,
        number: int = 1,
        epsilon: float = 8.0,
        multiplier: float = EIGHT_ROUNDS,
        delta: float = 1e-5,
        kind: str = "local",
    ) -> Message:
        asked = {"kind": kind, "epsilon": epsilon, "delta": delta, "clip": 1.0, "multiplier": multiplier}
        content = {
            ARRAYS: packed(BEFORE),
            CONFIG: ConfigRecord({"seed": 0, "server-round": number}),
            **({leaving.PRIVACY: ConfigRecord(dict(asked))} if kind else {}),
        }
        message = Message(RecordDict(dict(content)), 7, MessageType.TRAIN, group_id="1")

        def trained(message: Message, context: Context) -> Message:
            arrays = {name: it + np.float32(change) for name, it in BEFORE.items()}
            measured = MetricRecord({WEIGHT: 12.0, "error": 3.0, "loss": 1.0, "seconds": 0.5})
            return Message(RecordDict({ARRAYS: packed(arrays), METRICS: measured}), reply_to=message)

        return leaving.private(message, self.context, trained)


def test_a_region_adds_noise_that_nobody_can_draw_again() -> None:
    first, second = (
        unpacked(Node().answer().content.array_records[leaving.CHANGE])["w"].astype(np.float64) for _ in range(2)
    )
    assert np.std(first) == pytest.approx(2 * EIGHT_ROUNDS, rel=0.1)
    assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 0.15
    seeded = [unpacked(Node(**{SIMULATED: True}).answer().content.array_records[leaving.CHANGE])["w"] for _ in range(2)]
    assert (seeded[0] == seeded[1]).all()


def test_under_local_privacy_nothing_measured_leaves_a_region() -> None:
    assert dict(Node().answer().content.metric_records[METRICS]) == {WEIGHT: 1.0}


def test_a_region_keeps_a_ledger_of_its_own(tmp_path: Path) -> None:
    """Whatever the server says: it asks for a ninth round of eight, or for less noise than the node's own budget bears."""
    node = Node()
    for number in range(1, 9):
        node.answer(number=number)
    with pytest.raises(BudgetSpent, match="region 'east'"):
        node.answer(number=9)
    with pytest.raises(BudgetSpent, match="of 2 at delta"):
        Node(tmp_path, epsilon=2.0).answer(multiplier=0.5, epsilon=1000.0)


def test_a_node_s_own_epsilon_holds_at_its_own_delta(tmp_path: Path) -> None:
    with pytest.raises(BudgetSpent, match="of 2 at delta 1e-05"):
        Node(tmp_path, epsilon=2.0).answer(multiplier=0.1, delta=1 - 1e-12)


def test_a_node_s_own_epsilon_holds_for_all_runs_and_all_starts_of_the_node(tmp_path: Path) -> None:
    for _ in range(2):  # as many runs of epsilon 8, each met by a node that was started again
        node = Node(tmp_path, epsilon=12.5)
        for number in range(1, 9):
            node.answer(number=number)
    assert spent.read(tmp_path / "east.spent").regions["east"][0] == 16
    with pytest.raises(BudgetSpent, match="region 'east'"):
        [Node(tmp_path, epsilon=12.5).answer(number=number) for number in range(1, 9)]


def test_a_round_that_cannot_be_written_down_is_not_trained(tmp_path: Path) -> None:
    node = Node(tmp_path, epsilon=12.5)
    (tmp_path / "east.spent").unlink()
    with pytest.raises(FileNotFoundError):
        node.answer()
    (tmp_path / "east.spent").write_text("{")
    with pytest.raises(InvalidData, match="what was spent is unknown"):
        node.answer()


@pytest.mark.parametrize("kind", ["", "central"])
def test_a_node_with_an_epsilon_of_its_own_trains_under_local_privacy_alone(kind: str) -> None:
    with pytest.raises(InvalidData, match="trains under privacy local alone"):
        Node(epsilon=2.0).answer(kind=kind)
    Node().answer(kind=kind)
