"""Several server processes on the same ports, and a supervisor that starts one again when it dies.

The kernel spreads connections over them (SO_REUSEPORT). They are forked from a process that has imported everything, so
one that was killed is back in a fraction of a second. Each tells what it has loaded in ``.server-<number>.json``; the
supervisor puts that together in ``server.json``: a version is loaded once all of them have loaded it.
"""

import asyncio
import logging
import multiprocessing
import os
import shutil
import signal
import socket
import tempfile
import time
from collections import deque
from dataclasses import replace
from multiprocessing import connection
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

from fleetml import atomic
from fleetml.errors import Unavailable
from fleetml.serving import deployment, listeners, metrics
from fleetml.serving.contract import SERVICE
from fleetml.serving.deployment import STATUS
from fleetml.serving.options import Options

LOOK_SECONDS = 0.05
DEATHS, DEATH_SECONDS = 20, 60.0
"""More deaths in this time: something is wrong that another start does not mend."""

log = logging.getLogger(__name__)


def supervise(options: Options, count: int) -> None:
    """Run `count` servers until SIGTERM or SIGINT. Raises Unavailable when a port is taken, or when they keep dying."""
    options.root.mkdir(parents=True, exist_ok=True)
    options, held = _reserve(options)
    ended, ending = socket.socketpair()
    ending.setblocking(False)
    signals = (signal.SIGTERM, signal.SIGINT)
    before = {number: signal.signal(number, lambda *_: ending.send(b"x")) for number in signals}
    figures = tempfile.mkdtemp(prefix="fleetml-metrics-")
    os.environ[metrics.FOLDER] = figures  # for the workers
    supervisor = _Supervisor(options, count)
    try:
        print(f"serving {SERVICE} on {options.host}:{options.port}", flush=True)  # noqa: T201 - read by who chose port 0
        supervisor.run(ended)
    finally:
        supervisor.end()
        del os.environ[metrics.FOLDER]
        shutil.rmtree(figures, ignore_errors=True)
        for number, handler in before.items():
            signal.signal(number, handler)
        for each in (*held, ended, ending):
            each.close()


class _Supervisor:
    def __init__(self, options: Options, count: int) -> None:
        self._options = options
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["fleetml.serving.server"])
        self._told: dict[str, Any] | None = None
        self._deaths: deque[float] = deque(maxlen=DEATHS)
        self._workers = {number: self._start(number) for number in range(count)}

    def run(self, ended: socket.socket) -> None:
        """Keep the workers alive until `ended` can be read."""
        while True:
            ready = connection.wait([ended, *(worker.sentinel for worker in self._workers.values())], LOOK_SECONDS)
            if ended in ready:
                return
            for number, worker in list(self._workers.items()):
                if not worker.is_alive():
                    self._died(number, worker)
            self._tell()

    def end(self) -> None:
        """Let all answer what is under way, then end them."""
        for worker in self._workers.values():
            worker.terminate()
        for number, worker in self._workers.items():
            worker.join(60)
            worker.kill()
            _status(self._options.root, number).unlink(missing_ok=True)
        (self._options.root / STATUS).unlink(missing_ok=True)

    def _start(self, number: int) -> ForkServerProcess:
        worker = self._context.Process(target=work, args=(self._options, number), name=f"serving-{number}")
        worker.start()
        return worker

    def _died(self, number: int, worker: ForkServerProcess) -> None:
        log.error("worker %d (process %s) ended with %s; starting it again", number, worker.pid, worker.exitcode)
        metrics.gone(worker.pid or 0)
        _status(self._options.root, number).unlink(missing_ok=True)
        self._deaths.append(time.monotonic())
        if len(self._deaths) == DEATHS and self._deaths[-1] - self._deaths[0] < DEATH_SECONDS:
            raise Unavailable(
                f"workers must stay alive, {DEATHS} ended within {DEATH_SECONDS:g} s; see the log for why"
            )
        self._workers[number] = self._start(number)

    def _tell(self) -> None:
        """Write what all workers have loaded, once each has looked for the first time."""
        said = [deployment.read_status(_status(self._options.root, number)) for number in self._workers]
        known = [each for each in said if each]
        if not known or (self._told is None and len(known) < len(said)):
            return
        first, *others = known
        models = {
            name: entry
            for name, entry in first["models"].items()
            if all(other["models"].get(name) == entry for other in others)
        }
        refused = {name: entry for each in known for name, entry in each["refused"].items()}
        pids = [worker.pid for worker in self._workers.values()]
        told = {**first, "pid": os.getpid(), "workers": pids, "models": models, "refused": refused}
        if told != self._told:
            atomic.write_json(self._options.root / STATUS, told)
            self._told = told


def work(options: Options, number: int) -> None:
    """One worker: serve until SIGTERM, or until the supervisor is gone."""
    from fleetml.serving.server import run, running

    logging.basicConfig(level=logging.INFO, format=f"%(asctime)s %(levelname)s [{number}] %(name)s: %(message)s")

    async def serve() -> None:
        end, loop = asyncio.Event(), asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, end.set)
        loop.add_signal_handler(signal.SIGINT, lambda: None)  # a terminal sends it to all; the supervisor says when
        if parent := multiprocessing.parent_process():
            loop.add_reader(parent.sentinel, end.set)
        async with running(options, shared=True, status=_status(options.root, number).name):
            await end.wait()

    run(serve())


def _status(root: Path, number: int) -> Path:
    return root / f".server-{number}.json"


def _reserve(options: Options) -> tuple[Options, list[socket.socket]]:
    """Return the options with the ports that all workers share, and sockets that keep them; raises Unavailable.

    A port that somebody listens on already cannot be bound without SO_REUSEPORT; one that is only kept can be with it.
    """
    grpc_port, first = listeners.reserve(options.host, options.port, "port")
    try:
        wanted = grpc_port + 1 if options.http_port is None else options.http_port
        http_port, second = listeners.reserve(options.host, wanted, "http-port")
    except Unavailable:
        if options.http_port is not None:
            first.close()
            raise
        http_port, second = listeners.reserve(options.host, 0, "http-port")
    return replace(options, port=grpc_port, http_port=http_port), [first, second]
