"""What leaves a region, read on its way out: everything its node says to the link, and how much goes over the socket."""

from __future__ import annotations

import selectors
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from flwr.app import Message
from flwr.proto.fleet_pb2 import ActivateNodeRequest, DeactivateNodeRequest, PullMessagesRequest, PushMessagesRequest
from flwr.proto.heartbeat_pb2 import SendNodeHeartbeatRequest
from flwr.proto.message_pb2 import ConfirmMessageReceivedRequest, PullObjectRequest, PushObjectRequest
from flwr.supercore.inflatable.inflatable_utils import inflate_object_from_contents

from components.federated import rounds, strategies
from components.federated.channel import Channel
from components.federated.configuration import Federation
from components.federated.envelope import opened
from components.federated.wire import LEAVES, Item, Listing, items
from tests.components.federated.real import Real, until
from tests.components.federated.region import ROWS, START, points

OVERHEAD_BYTES = 3000
"""Of a request beside its content: HTTP's headers (a signature and a public key among them), TLS' frames, now and then its handshake."""


class Tap:
    """Passes a TCP port on to another and counts what the side that connects sends."""

    def __init__(self, target: str) -> None:
        host, _, port = target.rpartition(":")
        self._target, self.sent = (host, int(port)), 0
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listening.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listening.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                threading.Thread(target=self._pass, args=(client,), daemon=True).start()

    def _pass(self, client: socket.socket) -> None:
        with client, socket.create_connection(self._target) as server, selectors.DefaultSelector() as ready:
            ready.register(client, selectors.EVENT_READ, server)
            ready.register(server, selectors.EVENT_READ, client)
            with suppress(OSError):
                while True:
                    for key, _ in ready.select():
                        content = key.fileobj.recv(65536)  # type: ignore[union-attr]
                        if not content:
                            return
                        if key.fileobj is client:
                            self.sent += len(content)
                        key.data.sendall(content)


@pytest.fixture
def real(tmp_path: Path) -> Iterator[Real]:
    real = Real(tmp_path, ["east", "west"])
    try:
        real.start_link()
        yield real
    finally:
        real.end()


def requests(path: Path) -> Iterator[tuple[str, bytes]]:
    """Return what a node sent: the name of each request and its bytes."""
    with path.open("rb") as file:
        while line := file.readline():
            name, size = line.split()
            yield name.decode(), file.read(int(size))


def messages(sent: list[tuple[str, bytes]]) -> list[Message]:
    """Put the messages together again whose objects were sent."""
    objects = {}
    for name, content in sent:
        if name.endswith("/PushObject"):
            pushed = PushObjectRequest.FromString(content)
            objects[pushed.object_id] = pushed.object_content
    found = []
    for name, content in sent:
        if name.endswith("/PushMessages"):
            (tree,) = PushMessagesRequest.FromString(content).message_object_trees
            message = inflate_object_from_contents(tree.object_id, dict(objects))
            assert isinstance(message, Message)
            message.content = opened(message.content)
            found.append(message)
    return found


def test_what_leaves_a_region_is_what_the_report_lists_and_nothing_else(real: Real) -> None:
    listing, tap = Listing(), Tap(real.address)
    real.start("east", ["-m", "tests.components.federated.region", tap.address, str(real.folder), "east"])
    real.start_node("west")
    asked = Federation(rounds=2, min_clients=2, round_seconds=60.0)
    from_east: Counter[Item] = Counter()

    def observe(message: Message) -> None:
        listing.add(message)
        if message.metadata.reply_to_message_id and names.get(message.metadata.src_node_id) == "east":
            from_east.update(items(message, LEAVES))

    with real.grid() as grid:
        until(lambda: len(grid.regions()) == 2, "both regions are there")
        names = grid.regions()
        rounds.train(grid, strategies.of(asked), asked, START, channel=Channel(observe=observe))
    real.processes["east"].terminate()
    real.processes["east"].wait()
    tap.close()

    sent = list(requests(real.folder / "east.sent"))
    read: Counter[Item] = Counter()
    for message in messages(sent):
        read.update(items(message, LEAVES))
    assert read == from_east
    assert set(read) <= set(listing.seen)
    assert {(each.kind, each.record, each.name) for each in read} == {
        ("query", "about", "region"),
        ("query", "metrics", "examples"),
        ("train", "arrays", "weights"),
        ("train", "arrays", "bias"),
        *(("train", "metrics", name) for name in ("weight", "error", "loss", "seconds")),
        *(("evaluate", "metrics", name) for name in ("weight", "common", "personal")),
    }
    only_asks(sent)
    holds_no_data(sent, "east")
    content = sum(len(each) for _, each in sent)
    assert content < tap.sent < content + OVERHEAD_BYTES * len(sent)


def only_asks(sent: list[tuple[str, bytes]]) -> None:
    """All that is no answer names the node, a run or an object, and has no room for more."""
    known = {
        "ActivateNode": ActivateNodeRequest,
        "DeactivateNode": DeactivateNodeRequest,
        "SendNodeHeartbeat": SendNodeHeartbeatRequest,
        "PullMessages": PullMessagesRequest,
        "PullObject": PullObjectRequest,
        "ConfirmMessageReceived": ConfirmMessageReceivedRequest,
    }
    for name, content in sent:
        kind = name.rpartition("/")[2]
        if kind in known:
            asking = known[kind].FromString(content)
            asking.DiscardUnknownFields()
            assert asking.ByteSize() == len(content), kind
            assert len(content) < 400, kind
        else:
            assert kind in ("PushMessages", "PushObject"), kind


def holds_no_data(sent: list[tuple[str, bytes]], region: str) -> None:
    """No row of the region's data is in what it sent, as float32 or float64."""
    everything = b"".join(content for _, content in sent)
    inputs, values = points(region)
    for kind in ("<f4", "<f8"):
        for row in range(ROWS - 1):
            assert inputs[row].astype(kind).tobytes() not in everything
            assert values[row : row + 2].astype(kind).tobytes() not in everything
