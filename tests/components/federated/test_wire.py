"""What leaves a region is what the listing tells, and holds none of the region's values."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MessageType, RecordDict
from flwr.common.serde import message_to_proto
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects

from components.federated import protection, rounds, wire
from components.federated.app import REGION, client_app
from components.federated.configuration import Federation
from components.federated.forecaster import Forecaster, arrays_of, network_of
from components.federated.simulation import Simulation
from fleetml.learn.windows import Meta, Windows

META = Meta(context=48, horizon=6, season=24)
WAYS: dict[str, dict[str, Any]] = {
    "plain": {},
    "eight bits": {"update_bits": 8},
    "top k": {"update_bits": 16, "update_share": 0.1},
    "central": {"privacy": "central", "epsilon": 50.0, "weights": "equal"},
    "local": {"privacy": "local", "epsilon": 50.0, "weights": "equal"},
    "secure": {"secure": True, "min_clients": 3},
}
MAY_LEAVE = {
    "query": {"about": {"region"}, "metrics": {"examples"}},
    "evaluate": {"metrics": {"weight", "common"}},
    "plain": {"arrays": set(arrays_of(network_of(META, 0))), "metrics": {"weight", "error", "loss", "seconds"}},
    "local": {"change": set(arrays_of(network_of(META, 0))), "metrics": {"weight"}},
    "secure": {
        "secure": {"mask-public", "send-public", "to", "sealed", "commitment", "of", "shares"},
        "masked": {"masked"},
    },
}


def windows(region: int) -> Windows:
    draws = np.random.default_rng(region)
    values = draws.uniform(1, 1000, (40, META.context + META.horizon)).astype(np.float32)
    return Windows(
        vm_id=np.repeat([f"secret-vm-{region}"], 40),
        origin=np.arange(40).astype("datetime64[us]"),
        history=values[:, : META.context],
        covariates=np.empty((40, 0), np.float32),
        target=values[:, META.context :],
        scale=np.ones(40, np.float32),
        meta=META,
    )


class Captured:
    """Two rounds over three regions: every message as bytes, and what the protection listed."""

    def __init__(self, **chosen: Any) -> None:
        federation = Federation(**{"rounds": 2, "personal_epochs": 0, **chosen})
        protected = protection.Protection(federation, seeded=True)
        self.listing, self.messages = protected.listing, []
        self.windows = {f"r{index}": windows(index) for index in range(3)}
        learners = {name: Forecaster(part, part) for name, part in self.windows.items()}
        app = client_app(lambda context: learners[str(context.node_config[REGION])], protection.MODS)
        with Simulation(app, sorted(learners), 1) as grid:
            inner = grid.send_and_receive

            def tapped(messages: Any, *, timeout: float | None = None) -> Any:
                sent = list(messages)
                replies = list(inner(sent, timeout=timeout))
                self.messages += [*sent, *replies]
                return replies

            grid.send_and_receive = tapped  # type: ignore[method-assign]
            self.result = rounds.train(
                grid, protected.strategy, federation, arrays_of(network_of(META, 0)), channel=protected.channel
            )

    @property
    def leaving(self) -> list[Message]:
        return [message for message in self.messages if message.metadata.reply_to_message_id]


@pytest.fixture(scope="module", params=WAYS)
def captured(request: pytest.FixtureRequest) -> tuple[str, Captured]:
    return request.param, Captured(**WAYS[request.param])


def on_the_wire(message: Message) -> bytes:
    """Return a message as Flower writes it: its frame, and each of its objects."""
    return message_to_proto(message).SerializeToString() + b"".join(
        each.deflate() for each in get_all_nested_objects(message).values()
    )


def test_all_that_passes_is_listed(captured: tuple[str, Captured]) -> None:
    _, run = captured
    passed: Counter[tuple[Any, ...]] = Counter()
    for message in run.messages:
        way = "leaves" if message.metadata.reply_to_message_id else "comes"
        for record, held in message.content.items():
            for name in held:
                passed[(way, message.metadata.message_type, record, name)] += 1
    listed: Counter[tuple[Any, ...]] = Counter()
    for row in run.listing.table():
        listed[(row["way"], row["message"], row["record"], row["name"])] += row["count"]
    assert listed == passed


def test_arrays_are_listed_with_their_exact_bytes(captured: tuple[str, Captured]) -> None:
    _, run = captured
    arrays = [
        it for message in run.leaving for record in message.content.array_records.values() for it in record.values()
    ]
    rows = [
        row for row in run.listing.table() if row["way"] == "leaves" and row["record"] in ("arrays", "change", "masked")
    ]
    assert sum(row["bytes"] for row in rows) == sum(len(it.data) for it in arrays)
    assert {(row["type"], tuple(row["shape"])) for row in rows} == {(it.dtype, tuple(it.shape)) for it in arrays}


def test_no_value_of_a_region_leaves_it(captured: tuple[str, Captured]) -> None:
    """Neither one measured value as float32 or float64, nor the name of a VM, is in any message as Flower writes it."""
    _, run = captured
    leaves = b"".join(on_the_wire(message) for message in run.leaving)
    assert b"secret-vm" not in leaves
    for part in run.windows.values():
        values = np.concatenate([part.history.ravel(), part.target.ravel()])
        # One float32 may be met by chance in megabytes; two in a row may not
        pairs = np.lib.stride_tricks.sliding_window_view(part.history, 2, axis=1).reshape(-1, 2)
        assert not any(pair.astype(np.float32).tobytes() in leaves for pair in pairs[::7])
        assert not any(value.tobytes() in leaves for value in values.astype(np.float64)[::7])


def test_what_may_leave_is_all_that_leaves(captured: tuple[str, Captured]) -> None:
    name, run = captured
    train = MAY_LEAVE.get(name)
    for message in run.leaving:
        kind = message.metadata.message_type
        allowed = MAY_LEAVE.get(kind, train)
        if allowed is None:
            continue
        for record, held in message.content.items():
            assert set(held) <= allowed[record], (kind, record)


def test_under_masks_the_server_gets_words_and_no_figure_of_one_region() -> None:
    run = Captured(**WAYS["secure"])
    train = [message for message in run.leaving if message.metadata.message_type == MessageType.TRAIN]
    assert len(train) == 4 * 3 * 2
    assert not any("metrics" in message.content or "arrays" in message.content for message in train)
    assert {
        it.dtype for message in train for each in message.content.array_records.values() for it in each.values()
    } == {"uint32"}


def test_the_bytes_of_a_round_are_those_that_passed() -> None:
    run = Captured(**WAYS["secure"])
    size = {"leaves": 0, "comes": 0}
    for message in run.messages:
        if message.metadata.message_type == MessageType.TRAIN:
            way = "leaves" if message.metadata.reply_to_message_id else "comes"
            size[way] += sum(record.count_bytes() for record in message.content.values())
    assert sum(each.received_bytes for each in run.result.history) == size["leaves"]
    assert sum(each.sent_bytes for each in run.result.history) == size["comes"]


def test_an_item_says_type_shape_and_bytes() -> None:
    content = RecordDict(
        {
            "a": ArrayRecord({"w": Array(np.zeros((2, 3), np.int8))}),
            "c": ConfigRecord({"key": b"12345", "word": "é", "nodes": [1, 2]}),
        }
    )
    found = {it.name: it for it in wire.items(Message(content, 1, MessageType.TRAIN), "comes")}
    assert (found["w"].dtype, found["w"].shape) == ("int8", (2, 3))
    assert found["w"].bytes == len(Array(np.zeros((2, 3), np.int8)).data)
    assert [(found[name].dtype, found[name].bytes) for name in ("key", "word", "nodes")] == [
        ("bytes", 5),
        ("str", 2),
        ("int", 16),
    ]
