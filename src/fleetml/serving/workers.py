"""Server processes on the same ports, and a supervisor that starts one again when it dies.

The kernel spreads connections over them (SO_REUSEPORT). They are forked from a process that has imported everything, so
one that was killed is back in a fraction of a second. Each tells what it has loaded in ``.server-<pid>.json``; the
supervisor puts that together in ``server.json``: a version is loaded once all of them have loaded it.

With `Options.settings` it follows that file: processes with the new settings serve beside the old ones before those end.
"""

import asyncio
import contextlib
import logging
import os
import select
import signal
import socket
import sys
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from fleetml import atomic
from fleetml.errors import FleetMLError
from fleetml.serving import deployment, metrics, settings
from fleetml.serving.contract import SERVICE
from fleetml.serving.deployment import STATUS
from fleetml.serving.forks import Child, fork, parent
from fleetml.serving.keeper import Deaths
from fleetml.serving.models import stamp
from fleetml.serving.options import Options
from fleetml.serving.settings import ServerSettings

LOOK_SECONDS = 0.05

log = logging.getLogger(__name__)


def supervise(options: Options, count: int, say: bool) -> int:
    """Run `count` servers until SIGTERM, or until whoever forked us is gone; return the exit status. Ports are given.

    `say` on standard output where they answer, once they do. Raises Unavailable when they keep dying.
    """
    keeper = parent(os.getppid())
    ended, ending = socket.socketpair()
    ending.setblocking(False)
    signal.signal(signal.SIGTERM, lambda *_: ending.send(b"x"))
    for stale in options.status.glob(".server-*.json"):
        stale.unlink(missing_ok=True)
    metrics.forget()
    supervisor = _Supervisor(options, count, say)
    try:
        return supervisor.run([ended.fileno(), keeper])
    finally:
        supervisor.end()


class _Supervisor:
    def __init__(self, options: Options, count: int, say: bool) -> None:
        self._options, self._count, self._say = options, count, say
        self._told: dict[str, Any] | None = None
        self._refused: dict[str, Any] | None = None
        self._deaths = Deaths()
        self._leaving: list[Child] = []
        self._coming: _Generation | None = None
        self._seen = stamp(options.settings)
        self._now = self._generation(self._settings())

    def run(self, ended: list[int]) -> int:
        """Keep the workers alive until one of `ended` can be read: 0; or return the status of one that cannot serve at all."""
        while True:
            watched = [child.ended for child in self._all()]
            ready, _, _ = select.select([*ended, *watched], [], [], LOOK_SECONDS)
            if any(descriptor in ready for descriptor in ended):
                return 0
            if self._told is None and (status := self._now.refused()):
                return status
            self._now.mend(self._died)
            self._leaving = [child for child in self._leaving if not _over(child, self._options)]
            self._follow()
            self._tell()

    def end(self) -> None:
        """Let all answer what is under way, then end them."""
        for child in self._all():
            child.send(signal.SIGTERM)
        for child in self._all():
            if not select.select([child.ended], [], [], 60)[0]:
                child.send(signal.SIGKILL)
            _status(self._options, child.pid).unlink(missing_ok=True)
        (self._options.status / STATUS).unlink(missing_ok=True)

    def _all(self) -> list[Child]:
        coming = self._coming.children if self._coming else []
        return [*self._now.children, *coming, *self._leaving]

    def _settings(self) -> ServerSettings | None:
        """What ``settings.json`` says; what is wrong with it is said, and what is known goes on."""
        try:
            return settings.read(self._options.settings) if self._options.settings else None
        except FleetMLError as error:
            log.error("%s", error)
            return None

    def _generation(self, wanted: ServerSettings | None) -> "_Generation":
        options = wanted.over(self._options) if wanted else self._options
        return _Generation(options, wanted.workers if wanted else self._count, wanted)

    def _died(self, child: Child, status: int) -> None:
        log.error("worker (process %d) ended with %d; starting it again", child.pid, status)
        _forget(self._options, child)
        self._deaths.another("workers")

    def _follow(self) -> None:
        """Fork workers with new settings; once they serve, the old ones end."""
        if (now := stamp(self._options.settings)) != self._seen:
            self._seen = now
            self._leave(self._coming)
            wanted = self._settings()
            self._coming = self._generation(wanted) if wanted != self._now.settings else None
            self._refused = None
        if self._coming is None:
            return
        if self._coming.failed():
            self._refused = {"settings": asdict(self._coming.settings or ServerSettings()), "error": _FAILED}
            log.error("the new settings are refused: %s", _FAILED)
            self._leave(self._coming)
            self._coming = None
        elif all(self._coming.said()):
            log.info("new settings are in force: %s", self._coming.settings)
            self._leave(self._now)
            self._now, self._coming = self._coming, None

    def _leave(self, generation: "_Generation | None") -> None:
        for child in generation.children if generation else ():
            with contextlib.suppress(ProcessLookupError):  # one that failed
                child.send(signal.SIGTERM)
            self._leaving.append(child)

    def _tell(self) -> None:
        """Write what all workers have loaded, once each has looked for the first time."""
        known = [each for each in self._now.said() if each]
        if not known or (self._told is None and len(known) < len(self._now.children)):
            return
        first, *others = known
        models = {
            name: entry
            for name, entry in first["models"].items()
            if all(other["models"].get(name) == entry for other in others)
        }
        refused = {name: entry for each in known for name, entry in each["refused"].items()}
        pids = [child.pid for child in self._now.children]
        told = {**first, "pid": os.getpid(), "workers": pids, "models": models, "refused": refused}
        told["settings"] = asdict(self._now.settings) if self._now.settings else None
        told["settings_refused"] = self._refused
        if told != self._told:
            atomic.write_json(self._options.status / STATUS, told)
            if self._told is None and self._say:
                print(f"serving {SERVICE} on {self._options.host}:{self._options.port}", flush=True)  # noqa: T201
            self._told = told


_FAILED = "a server with these settings did not start; its log says why"


class _Generation:
    """The workers of one set of settings."""

    def __init__(self, options: Options, count: int, wanted: ServerSettings | None) -> None:
        self._options, self.settings = options, wanted
        self.children = [self._start(number) for number in range(count)]

    def said(self) -> list[dict[str, Any]]:
        """Return what each worker told last; {}: nothing yet."""
        return [deployment.read_status(_status(self._options, child.pid)) for child in self.children]

    def failed(self) -> bool:
        """Say whether one ended before all serve."""
        return any(select.select([child.ended], [], [], 0)[0] for child in self.children)

    def refused(self) -> int:
        """Return the exit status of a worker that ended by itself; 0: none did."""
        return max(child.gave_up() for child in self.children)

    def mend(self, died: Any) -> None:
        """Start again what ended, after `died` was told."""
        for number, child in enumerate(self.children):
            if (status := child.status()) is not None:
                died(child, status)
                self.children[number] = self._start(number)

    def _start(self, number: int) -> Child:
        return fork(partial(work, self._options, number, os.getpid()))


def work(options: Options, number: int, supervisor: int) -> int:
    """One worker: serve until SIGTERM, or until the supervisor is gone."""
    from fleetml.serving.server import run, running

    logging.basicConfig(
        level=logging.INFO, format=f"%(asctime)s %(levelname)s [{number}] %(name)s: %(message)s", force=True
    )

    async def serve() -> None:
        end, loop = asyncio.Event(), asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, end.set)
        loop.add_reader(parent(supervisor), end.set)
        async with running(options, shared=True, status=_status(options, os.getpid())):
            await end.wait()

    try:
        run(serve())
    except FleetMLError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201
        return error.exit_code
    return 0


def _over(child: Child, options: Options) -> bool:
    if child.status() is None:
        return False
    _forget(options, child)
    return True


def _forget(options: Options, child: Child) -> None:
    metrics.gone(child.pid)
    _status(options, child.pid).unlink(missing_ok=True)


def _status(options: Options, pid: int) -> Path:
    return options.status / f".server-{pid}.json"
