"""Flower's message grid inside one process: each message goes to a client app of this process and comes back at once.

Flower's own simulation starts ray, which takes half a minute before the first round; the apps are the same on both.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from flwr.app import Context, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity

SERVER = 0  # node id of the server app


class InProcessGrid(Grid):
    """One client app per node; node ids count from 1, each context holds its ``partition-id``."""

    def __init__(self, apps: Mapping[str, ClientApp]) -> None:
        self._apps = dict(enumerate(apps.values(), start=1))
        self._contexts = {
            node: Context(
                run_id=1, node_id=node, node_config={"partition-id": node - 1}, state=RecordDict(), run_config={}
            )
            for node in self._apps
        }
        self._replies: dict[str, Message] = {}
        self._run = Run.create_empty(1)
        # What a SuperLink would tell this process; messages carry it.
        TaskIdentity.task_id, TaskIdentity.run_id, TaskIdentity.node_id = 1, 1, SERVER

    def set_run(self, run: Any) -> None:
        """There is one run."""

    @property
    def run(self) -> Run:
        return self._run

    def create_message(
        self, content: RecordDict, message_type: str, dst_node_id: int, group_id: str, ttl: float | None = None
    ) -> Message:
        """Return a message to a node."""
        return Message(content, dst_node_id, message_type, group_id=group_id, ttl=ttl)

    def get_node_ids(self) -> Iterable[int]:
        return list(self._apps)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Run the clients; their replies wait under the ids that are returned."""
        ids = []
        for message in messages:
            node = message.metadata.dst_node_id
            number = str(len(self._replies) + 1)
            message.metadata.__dict__["_message_id"] = number
            self._replies[number] = self._apps[node](message, self._contexts[node])
            ids.append(number)
        return ids

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        return [self._replies.pop(number) for number in message_ids]

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        """Return the replies, in order; clients run one after another, so no timeout applies."""
        return self.pull_messages(self.push_messages(messages))
