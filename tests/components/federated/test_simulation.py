"""The grid of processes on this machine."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp

from components.federated.simulation import Simulation
from tests.components.federated.learners import Pull, train


def app(answer: Any) -> ClientApp:
    made = ClientApp()

    @made.query()
    def query(message: Message, context: Context) -> Message:
        return Message(RecordDict({"said": ConfigRecord(answer(context))}), reply_to=message)

    return made


def said(replies: Iterable[Message]) -> list[dict[str, Any]]:
    return [dict(each.content.config_records["said"]) for each in replies]


def asked(grid: Simulation) -> list[Message]:
    return [Message(RecordDict(), node, "query") for node in grid.get_node_ids()]


def test_each_node_is_a_region_and_replies_come_in_the_order_of_the_messages() -> None:
    with Simulation(app(lambda it: {"region": it.node_config["region"]}), ["c", "a", "b"]) as grid:
        assert said(grid.send_and_receive(asked(grid))) == [{"region": "c"}, {"region": "a"}, {"region": "b"}]


def test_a_node_keeps_its_state_whichever_process_it_is_in() -> None:
    def counted(context: Context) -> dict[str, int]:
        count = int(context.state.config_records.get("count", ConfigRecord({"n": 0}))["n"]) + 1  # type: ignore[arg-type]
        context.state["count"] = ConfigRecord({"n": count})
        return {"n": count}

    with Simulation(app(counted), ["a", "b", "c"], workers=2) as grid:
        for number in (1, 2, 3):
            assert said(grid.send_and_receive(asked(grid))) == [{"n": number}] * 3


def test_processes_are_few_and_end_with_the_grid() -> None:
    with Simulation(app(lambda it: {"pid": os.getpid()}), [str(number) for number in range(9)], workers=2) as grid:
        pids = {each["pid"] for _ in range(3) for each in said(grid.send_and_receive(asked(grid)))}
    assert len(pids) <= 2
    assert os.getpid() not in pids
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)


def test_messages_can_be_pushed_and_pulled() -> None:
    with Simulation(app(lambda it: {"node": it.node_id}), ["a", "b"]) as grid:
        first, second = grid.push_messages(asked(grid))
        assert said(grid.pull_messages([second])) == [{"node": 2}]
        assert said(grid.pull_messages([first, second])) == [{"node": 1}]


def test_a_hundred_regions_on_two_processes() -> None:
    result = train({f"region-{number:03}": Pull(number) for number in range(100)}, rounds=2)
    assert [len(each.answered) for each in result.history] == [100, 100]
