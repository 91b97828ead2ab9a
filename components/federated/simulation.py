"""Flower's grid of messages over a few processes of this machine, which run the regions' app in turns.

Flower's own simulation starts ray, for half a minute. The processes are forked: they find the regions' data and the libraries
in memory, at once. A fork is safe here because torch is left at one thread on either side, so no pool of threads is expected
where there is none, and a child calls nothing but the app.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import sys
import time
from collections import deque
from collections.abc import Iterable, Sequence
from multiprocessing.connection import Connection, wait
from typing import Any

from flwr.app import Context, Error, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity

from components.federated.app import REGION, SIMULATED

SERVER = 0  # node id of the server app
_FORK = multiprocessing.get_context("fork")
_FAILED = 0  # Flower's code of an error whose kind is not known


class Simulation(Grid):
    """Regions as nodes, counted from 1 in the order given; each context names its region. Use it in a `with`."""

    def __init__(self, app: ClientApp, regions: Sequence[str], workers: int = 2) -> None:
        self._app, self._regions = app, list(regions)
        self._contexts = {node: _context(node, name) for node, name in enumerate(regions, start=1)}
        self._workers: list[_Worker] = []
        self._count = min(workers, len(self._regions))
        self._run, self._replies = Run.create_empty(1), {}  # type: ignore[var-annotated]

    def __enter__(self) -> Simulation:
        # What a SuperLink would tell this process; messages carry it.
        TaskIdentity.task_id, TaskIdentity.run_id, TaskIdentity.node_id = 1, 1, SERVER
        return self

    def __exit__(self, *raised: object) -> None:
        for worker in self._workers:
            worker.end()
        self._workers.clear()

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
        return list(self._contexts)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Run the clients; their replies wait under the ids that are returned."""
        sent = list(messages)
        for reply in self.send_and_receive(sent):
            self._replies[reply.metadata.reply_to_message_id] = reply
        return [each.metadata.message_id for each in sent]

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        return [self._replies.pop(number) for number in message_ids if number in self._replies]

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        """Return the replies that came in time, in the order of the messages; what is not done then is given up."""
        until = time.monotonic() + timeout if timeout is not None else None
        sent = list(messages)
        for number, message in enumerate(sent):
            message.metadata.__dict__["_message_id"] = f"{number + 1}"
        waiting, replies = deque(sent), {}
        while waiting or any(worker.busy for worker in self._workers):
            self._hand_out(waiting)
            left = None if until is None else max(0.0, until - time.monotonic())
            busy = {worker.pipe: worker for worker in self._workers if worker.busy}
            ready = wait(list(busy), left)
            if not ready:
                self._give_up()
                break
            for pipe in ready:
                reply = self._received(busy[pipe])  # type: ignore[index]
                replies[reply.metadata.reply_to_message_id] = reply
        return [replies[each.metadata.message_id] for each in sent if each.metadata.message_id in replies]

    def _hand_out(self, waiting: deque[Message]) -> None:
        while len(self._workers) < min(self._count, len(waiting) + sum(each.busy for each in self._workers)):
            self._workers.append(_Worker(self._app, [each.pipe for each in self._workers]))
        for worker in self._workers:
            if waiting and not worker.busy:
                message = waiting.popleft()
                worker.give(message, self._contexts[message.metadata.dst_node_id])

    def _received(self, worker: _Worker) -> Message:
        """Return a process' reply; an error in place of it where the process died."""
        message = worker.message
        try:
            reply, self._contexts[message.metadata.dst_node_id] = worker.take()
        except (EOFError, OSError):
            worker.end()
            self._workers.remove(worker)
            return _error(message, f"its process ended ({worker.process.exitcode})")
        return reply

    def _give_up(self) -> None:
        for worker in [each for each in self._workers if each.busy]:
            worker.end()
            self._workers.remove(worker)


class _Worker:
    """One process, and the message it has while it is busy."""

    message: Message

    def __init__(self, app: ClientApp, others: Sequence[Connection]) -> None:
        self.pipe, theirs = _FORK.Pipe()
        self.process = _FORK.Process(target=_work, args=(app, theirs, [self.pipe, *others]), daemon=True)
        self.process.start()
        theirs.close()
        self.busy = False

    def give(self, message: Message, context: Context) -> None:
        self.message, self.busy = message, True
        with contextlib.suppress(OSError):  # it died; to wait for it tells
            self.pipe.send((message, context))

    def take(self) -> tuple[Message, Context]:
        self.busy, answer = False, self.pipe.recv()
        return answer

    def end(self) -> None:
        self.process.kill()
        self.process.join()
        self.pipe.close()


def _work(app: ClientApp, pipe: Connection, others: Iterable[Connection]) -> None:
    """Answer messages until the other side is gone, which is only seen if nobody else holds its end."""
    for each in others:
        each.close()
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(1)
    with contextlib.suppress(EOFError, OSError, KeyboardInterrupt):
        while True:
            message, context = pipe.recv()
            TaskIdentity.node_id = context.node_id
            pipe.send((_answered(app, message, context), context))


def _answered(app: ClientApp, message: Message, context: Context) -> Message:
    try:
        return app(message, context)
    except Exception as error:  # whatever a region's code raises ends that region's part, and no other
        return _error(message, f"{type(error).__name__}: {error}")


def _error(message: Message, reason: str) -> Message:
    return Message(Error(_FAILED, reason), reply_to=message)


def _context(node: int, name: str) -> Context:
    config: dict[str, Any] = {REGION: name, SIMULATED: True, "partition-id": node - 1}
    return Context(run_id=1, node_id=node, node_config=config, state=RecordDict(), run_config={})
