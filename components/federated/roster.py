"""Which regions are there, and what is known of them."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace

from flwr.app import Message, MessageType, RecordDict
from flwr.serverapp import Grid

from components.federated.app import REGION
from components.federated.configuration import Federation
from components.federated.records import ABOUT, metrics_of
from components.federated.selection import Client
from fleetml.errors import Unavailable

log = logging.getLogger(__name__)
_LOOK_AGAIN_SECONDS = 1.0


class Roster:
    """The regions by node id (`nodes`), and by name what is known of all that ever came (`clients`)."""

    def __init__(self, grid: Grid, federation: Federation, clients: Mapping[str, Client]) -> None:
        self._grid, self._federation = grid, federation
        self.nodes: dict[int, str] = {}
        self.clients = dict(clients)

    @property
    def present(self) -> dict[str, Client]:
        """What is known of the regions that are there."""
        return {name: self.clients[name] for name in self.nodes.values()}

    def call(self) -> None:
        """Ask nodes that are new who they are, until as many regions as a round needs are there. Raises Unavailable."""
        wanted, seconds = self._federation.min_clients, self._federation.round_seconds
        until, said = time.monotonic() + seconds, ""
        while True:
            self._look(max(until - time.monotonic(), _LOOK_AGAIN_SECONDS))
            if len(self.nodes) >= wanted:
                return
            there = ", ".join(sorted(self.nodes.values())) or "none"
            if there != said:
                said = there
                log.info(
                    "%d of %d regions are there (%s), the others have %g s", len(self.nodes), wanted, there, seconds
                )
            if time.monotonic() >= until:
                raise Unavailable(
                    f"at least {wanted} regions must be there for a round, got {len(self.nodes)} ({there}) within {seconds:g} s; "
                    "start the others and run again, which goes on after the last whole round, or lower min_clients"
                )
            time.sleep(_LOOK_AGAIN_SECONDS)

    def took_part(self, number: int, seconds: Mapping[str, float]) -> None:
        """Note who was asked in a round, and how long it took them."""
        for name, taken in seconds.items():
            known = self.clients[name]
            self.clients[name] = replace(known, last=number, seconds=taken, rounds=known.rounds + 1)

    def _look(self, seconds: float) -> None:
        there = sorted(self._grid.get_node_ids())
        for gone in set(self.nodes) - set(there):
            log.info("%s is gone", self.nodes.pop(gone))
        asked = [Message(RecordDict(), node, MessageType.QUERY) for node in there if node not in self.nodes]
        replies = list(self._grid.send_and_receive(asked, timeout=seconds)) if asked else []
        self._enter(replies)

    def _enter(self, replies: Iterable[Message]) -> None:
        for reply in sorted(replies, key=lambda it: it.metadata.src_node_id):
            node = reply.metadata.src_node_id
            try:
                name = str(reply.content.config_records[ABOUT][REGION])
                examples = int(metrics_of(reply)["examples"])
            except (ValueError, KeyError, TypeError, OverflowError) as error:
                log.warning("node %d does not say who it is and stays out: %s", node, error)
                continue
            if name in self.nodes.values():
                log.warning("node %d says that it is %s, as another does, and stays out", node, name)
                continue
            self.nodes[node] = name
            self.clients[name] = replace(self.clients.get(name, Client(0)), examples=examples)
