"""Secure aggregation: the sums are right whoever drops out when, and nothing but sums can be had."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Error, Message, MessageType, MetricRecord, RecordDict
from flwr.supercore.task_identity import TaskIdentity

from components.federated import masks, secure
from components.federated.masks import KEYS, MASKED, SECURE, SHARES, STAGES, UNMASK, VECTOR
from components.federated.records import ARRAYS, CONFIG, METRICS, WEIGHT, packed
from fleetml.errors import Unavailable

BEFORE = {"a": np.linspace(-1, 1, 600, dtype=np.float32).reshape(20, 30), "b": np.ones(5, np.float32)}
LARGEST = 500.0


class Region:
    """What a region of these tests trains: a change and a weight of its own."""

    def __init__(self, node: int) -> None:
        draws = np.random.default_rng(node)
        self.change = {name: draws.normal(0, 0.1, it.shape).astype(np.float32) for name, it in BEFORE.items()}
        self.weight = float(draws.integers(1, int(LARGEST)))
        self.figures: dict[str, int | float | list[int] | list[float]] = {
            WEIGHT: self.weight,
            "error": float(node),
            "loss": 0.5 * node,
            "seconds": 1.0,
        }

    def answer(self, message: Message, context: Context) -> Message:
        arrays = {name: it + self.change[name] for name, it in BEFORE.items()}
        return Message(RecordDict({ARRAYS: packed(arrays), METRICS: MetricRecord(self.figures)}), reply_to=message)


class Nodes:
    """A grid of regions in this process; `fails(node, stage)` drop out, `meddle` may change what is sent or answered."""

    def __init__(self, count: int, fails: Callable[[int, str], bool] = lambda node, stage: False) -> None:
        TaskIdentity.task_id, TaskIdentity.run_id, TaskIdentity.node_id = 1, 1, 0
        self.regions = {node: Region(node) for node in range(1, count + 1)}
        self.contexts = {
            # A real link calls a region otherwise than the grid does
            node: Context(run_id=1, node_id=node + 2**63, node_config={}, state=RecordDict(), run_config={})
            for node in self.regions
        }
        self.fails, self.timeouts = fails, list[float | None]()
        self.passed: list[tuple[str, int, Message]] = []
        self.meddle: Callable[[str, int, Message], None] = lambda way, node, message: None

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        self.timeouts.append(timeout)
        return [reply for message in messages if (reply := self.ask(message)) is not None]

    def ask(self, message: Message) -> Message | None:
        node, stage = message.metadata.dst_node_id, str(message.content.config_records[SECURE]["stage"])
        self.meddle(f"to {stage}", node, message)
        self.passed.append((f"to {stage}", node, message))
        if self.fails(node, stage):
            return None
        try:
            reply = masks.masking(message, self.contexts[node], self.regions[node].answer)
        except Exception as error:  # as every grid does
            return Message(Error(0, f"{type(error).__name__}: {error}"), reply_to=message)
        self.meddle(f"from {stage}", node, reply)
        self.passed.append((f"from {stage}", node, reply))
        return reply

    def summed(self, number: int = 1, **given: Any) -> secure.Sum:
        config = ConfigRecord({"server-round": number})
        messages = [
            Message(RecordDict({ARRAYS: packed(BEFORE), CONFIG: config}), node, MessageType.TRAIN, group_id=str(number))
            for node in self.regions
        ]
        return secure.summed(self, messages, 60, LARGEST, **given)  # type: ignore[arg-type]

    def words(self, node: int) -> Any:
        """Return the masked vector a region sent last."""
        replies = [it for way, by, it in self.passed if (way, by) == (f"from {VECTOR}", node)]
        return replies[-1].content.array_records[MASKED][MASKED].numpy()

    def said(self, message: Message) -> dict[str, Any]:
        """Return what a message says of its stage."""
        return dict(message.content.config_records[SECURE])


def is_right(nodes: Nodes, total: secure.Sum, expected: set[int]) -> None:
    assert set(total.nodes) == expected
    assert set(total.reasons) == set(nodes.regions) - expected
    weights = {node: nodes.regions[node].weight / LARGEST for node in expected}
    assert total.weight == pytest.approx(sum(weights.values()), abs=1e-4)
    for name, value in total.change.items():
        wanted = sum(weight * nodes.regions[node].change[name].astype(np.float64) for node, weight in weights.items())
        np.testing.assert_allclose(value, wanted, atol=1e-6)
    error = sum(weight * node for node, weight in weights.items()) / sum(weights.values())
    assert total.mean("error") == pytest.approx(error, abs=1e-3)
    assert total.mean("loss") == pytest.approx(error / 2, abs=1e-3)


@pytest.mark.parametrize("count", [3, 4, 10, 25])
def test_the_sum_is_that_of_the_updates(count: int) -> None:
    nodes = Nodes(count)
    is_right(nodes, nodes.summed(), set(nodes.regions))


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("count", [10, 25])
def test_the_sum_is_right_when_regions_drop_out(count: int, stage: str) -> None:
    gone = {2, 5, 9}
    nodes = Nodes(count, lambda node, now: node in gone and now == stage)
    total = nodes.summed()
    # Who sent its vector is in the sum, though it be gone when it is asked to unmask
    is_right(nodes, total, set(nodes.regions) if stage == UNMASK else set(nodes.regions) - gone)
    assert all(stage in why for why in total.reasons.values())


def test_the_sum_is_right_when_a_region_drops_out_in_every_stage() -> None:
    nodes = Nodes(13, lambda node, now: (node, now) in {(2, KEYS), (5, SHARES), (8, VECTOR), (11, UNMASK)})
    is_right(nodes, nodes.summed(), set(nodes.regions) - {2, 5, 8})


@pytest.mark.parametrize("stage", STAGES)
def test_below_the_threshold_nothing_is_unmasked(stage: str) -> None:
    nodes = Nodes(10, lambda node, now: node <= 4 and now == stage)
    with pytest.raises(Unavailable, match=r"needs 7 of 10 regions .* 6 are left in round 1; nothing .* was unmasked"):
        nodes.summed()
    asked_to_unmask = [node for way, node, _ in nodes.passed if way == f"to {UNMASK}"]
    assert bool(asked_to_unmask) == (stage == UNMASK)


def test_who_is_late_in_a_stage_takes_no_time_from_the_next() -> None:
    nodes = Nodes(10, lambda node, now: node == 4 and now == VECTOR)
    nodes.summed()
    assert nodes.timeouts == [60] * 4


def test_two_regions_are_too_few() -> None:
    with pytest.raises(Unavailable, match="needs 3 of 2 regions"):
        Nodes(2).summed()


def test_regions_that_failed_once_take_part_in_the_next_round() -> None:
    nodes = Nodes(5, lambda node, now: node == 2 and now == VECTOR)
    nodes.summed(1)
    nodes.fails = lambda node, now: False
    is_right(nodes, nodes.summed(2), set(nodes.regions))


def test_a_masked_update_tells_nothing_of_the_true_one() -> None:
    nodes = Nodes(10)
    nodes.summed()
    masked = nodes.words(3)[len(masks.MEASURED) :].astype(np.float64)
    true = np.concatenate([it.reshape(-1) for it in nodes.regions[3].change.values()])
    assert abs(np.corrcoef(masked, true)[0, 1]) < 4 / np.sqrt(true.size)
    bits = np.unpackbits(nodes.words(3).view(np.uint8))
    assert abs(bits.mean() - 0.5) < 4 * 0.5 / np.sqrt(bits.size)
    before = nodes.words(3)
    nodes.summed(2)
    assert (before == nodes.words(3)).mean() < 0.01, "each round has masks of its own"


def test_what_the_server_unmasks_of_one_region_leaves_its_masks_with_the_others() -> None:
    """It learns each region's own seed to unmask the sum; one region's vector still stands under the masks of its pairs."""
    nodes = Nodes(10)
    nodes.summed()
    shares = [
        nodes.said(it)["shares"][nodes.said(it)["of"].index(3)]
        for way, _, it in nodes.passed
        if way == f"from {UNMASK}"
    ]
    seed = masks.combine(shares[:7])
    bare = masks.added(nodes.words(3), masks.seed_key(seed), -1)[len(masks.MEASURED) :].astype(np.float64)
    true = np.concatenate([it.reshape(-1) for it in nodes.regions[3].change.values()])
    assert abs(np.corrcoef(bare, true)[0, 1]) < 4 / np.sqrt(true.size)


def test_fewer_shares_than_the_threshold_tell_nothing_of_a_secret() -> None:
    secret = bytes(range(16))
    shares = masks.split(secret, 7, 10)
    assert masks.combine(shares[3:]) == secret
    assert masks.combine(shares[:6]) != secret


class Curious(Nodes):
    """A server that goes by the protocol until a stage, and then asks a region what it likes."""

    def ask_instead(self, stage: str, node: int, **asked: Any) -> str:
        def meddle(way: str, to: int, message: Message) -> None:
            if way == f"to {stage}" and to == node:
                message.content[SECURE] = ConfigRecord({**message.content.config_records[SECURE], **asked})

        self.meddle = meddle
        return str(self.summed().reasons.get(node)) if stage != UNMASK else self._said(node)

    def _said(self, node: int) -> str:
        self.summed()
        own = [it for way, by, it in self.passed if (way, by) == (f"from {UNMASK}", node)]
        return "answered" if own else "refused"


@pytest.mark.parametrize(
    "asked",
    [
        pytest.param({"summed": [1, 2, 3, 4, 5, 6, 7, 8, 9, 10], "dropped": [5]}, id="both secrets of one"),
        pytest.param({"summed": [5]}, id="a sum of one"),
        pytest.param({"summed": [1, 2, 3, 4, 5, 6], "dropped": [7, 8, 9, 10]}, id="a sum of fewer than the threshold"),
        pytest.param({"summed": [1, 2, 3, 4, 5, 6, 77]}, id="a stranger"),
    ],
)
def test_a_region_helps_to_unmask_no_single_one(asked: dict[str, list[int]]) -> None:
    assert Curious(10).ask_instead(UNMASK, 4, **asked) == "refused"


def test_a_region_gives_its_shares_once() -> None:
    """Whoever could ask again could ask for the other secret of a region."""
    nodes = Nodes(5)
    nodes.summed()
    (again,) = [it for way, node, it in nodes.passed if (way, node) == (f"to {UNMASK}", 3)]
    reply = nodes.ask(again)
    assert reply is not None
    assert "once; got 'unmask'" in str(reply.error.reason)


@pytest.mark.parametrize("number", [1, 2])
def test_a_region_makes_a_round_once(number: int) -> None:
    """Two sums of one round would tell what a region sent that is in one of them alone."""
    nodes = Nodes(5)
    nodes.summed(2)
    with pytest.raises(Unavailable, match=rf"once; got 'keys' of round {number} after 'unmask' of round 2"):
        nodes.summed(number)
    is_right(nodes, nodes.summed(3), set(nodes.regions))


def test_a_region_takes_no_part_where_too_few_could_unmask() -> None:
    assert "more than half of 10 regions" in Curious(10).ask_instead(SHARES, 4, threshold=5)


def test_a_region_takes_no_part_under_keys_that_are_not_its_own() -> None:
    keys = [masks.public_of(bytes([each] * 16)) for each in range(10)]
    assert "own keys come back" in Curious(10).ask_instead(SHARES, 4, **{"mask-public": keys})


def test_a_region_of_no_common_neighbourhood_gives_no_vector() -> None:
    nodes = Curious(10)
    assert "at least 7 regions take part" in nodes.ask_instead(VECTOR, 4, **{"from": [1], "sealed": [b""]})


def test_a_wrong_share_is_seen() -> None:
    nodes = Nodes(4)

    def meddle(way: str, node: int, message: Message) -> None:
        if way == f"from {UNMASK}" and node == 1:
            said = nodes.said(message)
            said["shares"] = [share[:4] + bytes(16) for share in said["shares"]]
            message.content[SECURE] = ConfigRecord(said)

    nodes.meddle = meddle
    with pytest.raises(Unavailable, match="a region sent a wrong share"):
        nodes.summed()


@pytest.mark.parametrize("key", [b"short", bytes(32), None], ids=["short", "zero", "the same"])
def test_a_region_whose_keys_are_none_is_left_out_and_spoils_no_other(key: bytes | None) -> None:
    nodes = Nodes(5)

    def meddle(way: str, node: int, message: Message) -> None:
        if way == f"from {KEYS}" and node == 2:
            said, records = nodes.said(message), nodes.contexts[2].state.config_records
            lie = {"mask-public": key or said["send-public"]}
            message.content[SECURE] = ConfigRecord({**said, **lie})
            records[SECURE] = ConfigRecord({**records[SECURE], **lie})

    nodes.meddle = meddle
    is_right(nodes, nodes.summed(), {1, 3, 4, 5})


def test_a_region_whose_shares_are_none_is_done_without() -> None:
    nodes = Nodes(5)

    def meddle(way: str, node: int, message: Message) -> None:
        if way == f"from {UNMASK}" and node == 1:
            said = nodes.said(message)
            message.content[SECURE] = ConfigRecord({**said, "shares": [1] * len(said["shares"])})

    nodes.meddle = meddle
    is_right(nodes, nodes.summed(), {1, 2, 3, 4, 5})


@pytest.mark.parametrize(
    "words",
    [np.zeros(3, np.uint32), np.zeros(609, np.float32), np.zeros((1, 609), np.uint32)],
    ids=["short", "floats", "another shape"],
)
def test_what_is_no_vector_is_left_out(words: Any) -> None:
    nodes = Nodes(5)

    def meddle(way: str, node: int, message: Message) -> None:
        if way == f"from {VECTOR}" and node == 2:
            message.content[MASKED] = ArrayRecord({MASKED: Array(words)})

    nodes.meddle = meddle
    total = nodes.summed()
    is_right(nodes, total, {1, 3, 4, 5})
    assert total.reasons[2] == "sent what was not asked for (stage vector of secure aggregation)"


def test_a_change_beyond_the_span_is_left_out_and_never_cut() -> None:
    nodes = Nodes(5)
    nodes.regions[2].change["b"][0] = 1e4
    total = nodes.summed()
    is_right(nodes, total, {1, 3, 4, 5})
    assert "within +-16" in total.reasons[2]


def test_a_region_without_an_error_counts_in_the_rest() -> None:
    nodes = Nodes(3)
    for region in nodes.regions.values():
        region.figures["error"] = float("nan")
    assert np.isnan(nodes.summed().mean("error"))


def test_many_regions_share_secrets_with_some() -> None:
    near = secure.ring(list(range(100, 200)))
    assert {len(each) for each in near.values()} == {21}
    assert all(node in near[other] for node, others in near.items() for other in others)
    assert secure.ring([1, 2, 3]) == {1: [1, 2, 3], 2: [1, 2, 3], 3: [1, 2, 3]}
