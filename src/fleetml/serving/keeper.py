"""The first process of a server: it holds the ports and everything imported, and forks the supervisor, again when that is killed."""

import importlib
import logging
import os
import select
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from fleetml.errors import FleetMLError, Unavailable
from fleetml.serving import listeners
from fleetml.serving.forks import Child, fork
from fleetml.serving.options import Options

FOLDER = "PROMETHEUS_MULTIPROC_DIR"  # as `fleetml.serving.metrics` has it; it is set before that is imported
DEATHS, DEATH_SECONDS = 20, 60.0
"""More deaths in this time: something is wrong that another start does not mend."""

log = logging.getLogger(__name__)


def keep(options: Options, workers: int) -> int:
    """Serve until SIGTERM or SIGINT; return the exit status. Raises Unavailable when a port is taken, or all keep dying."""
    for folder in (options.root, options.status):
        folder.mkdir(parents=True, exist_ok=True)
    with _reserved(options) as options, _figures(), _signals() as told:
        _import(options)
        deaths = Deaths()
        first = True
        while True:
            child = fork(lambda: _supervise(options, workers, first))  # noqa: B023 - it runs at once
            status = _wait(child, told)
            if status >= 0:
                return status
            log.error("the supervisor (process %d) was killed by signal %d; starting it again", child.pid, -status)
            deaths.another("supervisors")
            first = False


class Deaths:
    """Counts the ends of processes that are started again."""

    def __init__(self) -> None:
        self._moments: deque[float] = deque(maxlen=DEATHS)

    def another(self, who: str) -> None:
        """Raises Unavailable for too many in a short time."""
        self._moments.append(time.monotonic())
        if len(self._moments) == DEATHS and self._moments[-1] - self._moments[0] < DEATH_SECONDS:
            raise Unavailable(f"{who} must stay alive, {DEATHS} ended within {DEATH_SECONDS:g} s; see the log for why")


def _import(options: Options) -> None:
    """Import what the workers need; Feast alone takes ten seconds, which each of them would need after its start."""
    importlib.import_module("fleetml.serving.server")
    with suppress(ImportError):
        importlib.import_module("pandas")  # by Arrow, with the first array
    if options.feature_store:
        try:
            importlib.import_module("feature_repo.store")
        except Exception as error:  # whoever opens the store is told
            log.warning("the feature store's definitions cannot be imported: %s", error)


def _supervise(options: Options, workers: int, first: bool) -> int:
    from fleetml.serving.workers import supervise

    try:
        return supervise(options, workers, say=first)
    except FleetMLError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201
        return error.exit_code


def _wait(child: Child, told: int) -> int:
    """Return the child's exit status; that we were told to end is handed on to it."""
    waiting = [told, child.ended]
    while True:
        ready, _, _ = select.select(waiting, [], [])
        if child.ended in ready:
            status = child.status()
            if status is not None:
                return 0 if status < 0 and told not in waiting else status
        if told in ready:
            waiting.remove(told)
            child.send(signal.SIGTERM)


@contextmanager
def _reserved(options: Options) -> Iterator[Options]:
    """Yield the options with the ports that all workers share, which sockets keep meanwhile. Raises Unavailable.

    A port that somebody listens on already cannot be bound without SO_REUSEPORT; one that is only kept can be with it.
    """
    grpc_port, first = listeners.reserve(options.host, options.port, "port")
    with first:
        wanted = grpc_port + 1 if options.http_port is None else options.http_port
        try:
            http_port, second = listeners.reserve(options.host, wanted, "http-port")
        except Unavailable:
            if options.http_port is not None:
                raise
            http_port, second = listeners.reserve(options.host, 0, "http-port")
        with second:
            yield replace(options, port=grpc_port, http_port=http_port)


@contextmanager
def _figures() -> Iterator[None]:
    """A folder in which all processes count."""
    folder = tempfile.mkdtemp(prefix="fleetml-metrics-")
    os.environ[FOLDER] = folder
    try:
        yield
    finally:
        del os.environ[FOLDER]
        shutil.rmtree(Path(folder), ignore_errors=True)


@contextmanager
def _signals() -> Iterator[int]:
    """Yield a descriptor that can be read once we were told to end."""
    ended, ending = socket.socketpair()
    ending.setblocking(False)
    numbers = (signal.SIGTERM, signal.SIGINT)
    before = {number: signal.signal(number, lambda *_: ending.send(b"x")) for number in numbers}
    with ended, ending:
        try:
            yield ended.fileno()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
