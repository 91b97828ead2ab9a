"""What leaves a region and what comes to it: every record of every message, by name, type, shape and exact bytes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from flwr.app import Message, RecordDict
from flwr.serverapp import Grid

from components.federated.records import size

LEAVES, COMES = "leaves", "comes"


@dataclass(frozen=True, order=True)
class Item:
    """One value of a record. way: `leaves` a region or `comes` to one; kind: of the message; dtype, shape: of an array, else its type."""

    way: str
    kind: str
    record: str
    name: str
    dtype: str
    shape: tuple[int, ...]
    bytes: int


def items(message: Message, way: str) -> list[Item]:
    """Return what a message carries; an error leaves as its reason."""
    kind = message.metadata.message_type
    if message.has_error():
        return [Item(way, kind, "error", "reason", "str", (), len((message.error.reason or "").encode()))]
    return [
        Item(way, kind, record, name, *_form(value))
        for record, held in message.content.items()
        for name, value in held.items()
    ]


def _form(value: Any) -> tuple[str, tuple[int, ...], int]:
    if hasattr(value, "dtype") and hasattr(value, "data"):
        return str(value.dtype), tuple(value.shape), len(value.data)
    if isinstance(value, list):
        return (type(value[0]).__name__ if value else "list"), (len(value),), sum(_form(each)[2] for each in value)
    size = len(value) if isinstance(value, bytes) else len(value.encode()) if isinstance(value, str) else 8
    return type(value).__name__, (), size


@dataclass
class Listing:
    """How often each item passed: what a run's report says of the wire."""

    seen: Counter[Item] = field(default_factory=Counter)

    def add(self, message: Message) -> None:
        """Count a message; an answer leaves a region, every other comes to one."""
        self.seen.update(items(message, LEAVES if _answers(message) else COMES))

    def table(self) -> list[dict[str, Any]]:
        """Return a row for each item: how many passed, and their bytes; values of one record that differ in size alone share a row."""
        rows: dict[tuple[Any, ...], dict[str, Any]] = {}
        for item, count in sorted(self.seen.items()):
            key = (item.way, item.kind, item.record, item.name, item.dtype, item.shape)
            first = {
                "way": item.way,
                "message": item.kind,
                "record": item.record,
                "name": item.name,
                "type": item.dtype,
            }
            row = rows.setdefault(key, {**first, "shape": list(item.shape), "count": 0, "bytes": 0})
            row |= {"count": row["count"] + count, "bytes": row["bytes"] + count * item.bytes}
        return list(rows.values())


def _answers(message: Message) -> bool:
    return bool(message.metadata.reply_to_message_id)


class Watched(Grid):
    """A grid that shows every message that goes or comes to `observe` and counts their bytes; all else is the other grid's.

    sent, received: bytes of the records of messages to regions and from them, so far.
    """

    def __init__(self, grid: Grid, observe: Callable[[Message], None]) -> None:
        self._grid, self._observe = grid, observe
        self.sent, self.received = 0, 0

    def set_run(self, run: Any) -> None:
        self._grid.set_run(run)

    @property
    def run(self) -> Any:
        return self._grid.run

    def create_message(
        self, content: RecordDict, message_type: str, dst_node_id: int, group_id: str, ttl: float | None = None
    ) -> Message:
        return self._grid.create_message(content, message_type, dst_node_id, group_id, ttl)

    def get_node_ids(self) -> Iterable[int]:
        return self._grid.get_node_ids()

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        return self._grid.push_messages(self._shown(messages))

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        return self._shown(self._grid.pull_messages(message_ids))

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        return self._shown(self._grid.send_and_receive(self._shown(messages), timeout=timeout))

    def _shown(self, messages: Iterable[Message]) -> list[Message]:
        passing = list(messages)
        for message in passing:
            self._observe(message)
            if _answers(message):
                self.received += size(message)
            else:
                self.sent += size(message)
        return passing
