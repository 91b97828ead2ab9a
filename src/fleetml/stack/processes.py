"""Daemons that outlive the command that started them, found again and ended without hitting a stranger.

A process id alone is not an identity: after a reboot or a wrap-around it may be anybody's (fleetml.process_identity).
What daemons start in sessions of their own is found by the mark in its environment.
"""

import os
import signal
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import psutil

from fleetml import process_identity

MARK = "FLEETML_STACK"
"""Environment variable every process of a stack carries; its value is the stack's home."""


@dataclass(frozen=True)
class Process:
    """A started process; `started` is the clock tick of its start since `boot`."""

    pid: int
    started: int
    boot: str
    command: tuple[str, ...] = ()

    @classmethod
    def of(cls, pid: int, command: Sequence[str] = ()) -> "Process":
        """Return the process that has this number now."""
        return cls(pid, process_identity.started(pid), process_identity.boot(), tuple(command))

    def alive(self) -> bool:
        """Say whether this very process still runs (a zombie does not)."""
        return self.boot == process_identity.boot() and self.started == process_identity.started(self.pid) != -1

    def family(self) -> list[psutil.Process]:
        """Return this process, its descendants and the members of its session, as far as they live."""
        if not self.alive():
            return []
        try:
            found = psutil.Process(self.pid)
            return [found, *found.children(recursive=True), *_session(self.pid)]
        except psutil.NoSuchProcess:
            return []


@dataclass(frozen=True)
class Service:
    """A server of the stack: where it answers, what runs it, and what a user needs to know of it."""

    name: str
    address: str
    processes: tuple[Process, ...]
    log: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)

    def alive(self) -> bool:
        return bool(self.processes) and all(process.alive() for process in self.processes)

    def listens(self) -> bool:
        """Say whether it is one of ours that listens at the address, and not a stranger who took the port."""
        port = int(self.address.rpartition(":")[2])
        return any(port in _ports(member) for process in self.processes for member in process.family())

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "Service":
        processes = tuple(Process(**{**p, "command": tuple(p["command"])}) for p in document["processes"])
        return cls(document["name"], document["address"], processes, document["log"], document["details"])


def spawn(command: Sequence[str], *, home: Path, log: Path, env: Mapping[str, str], cwd: Path) -> Process:
    """Start a daemon in a session of its own, its output appended to `log`; return at once.

    `env` is the whole environment of the daemon but for the mark of the stack, which is added.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as sink:
        child = subprocess.Popen(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
            env={**env, MARK: str(home.resolve()), "SPT_NOENV": "1"},  # a changed process title must not wipe the mark
            cwd=cwd,
            start_new_session=True,
        )
    return Process.of(child.pid, command)


def stop(process: Process, first: signal.Signals = signal.SIGTERM, grace_seconds: float = 15.0) -> None:
    """End a process and all it started: `first` to the process, which may end its own; then whatever is left."""
    family = process.family()
    if not family:
        return
    _send(family[:1], first)
    _left(family[:1], grace_seconds)
    end(family)


def end(processes: Iterable[psutil.Process], grace_seconds: float = 3.0) -> None:
    """Terminate, then kill; return when none is left."""
    left = _left(processes, 0.0)
    for sig in (signal.SIGTERM, signal.SIGKILL):
        _send(left, sig)
        left = _left(left, grace_seconds)


def _left(processes: Iterable[psutil.Process], timeout_seconds: float) -> list[psutil.Process]:
    """Wait for the processes to end; return those that did not. A zombie nobody reaped is over."""
    left = list(processes)
    deadline = time.monotonic() + timeout_seconds
    while left := [process for process in left if _lives(process)]:
        if time.monotonic() >= deadline:
            break
        time.sleep(0.02)
    return left


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def marked(home: Path) -> list[psutil.Process]:
    """Return every live process that the stack of `home` started, directly or not."""
    own = {os.getpid(), *(p.pid for p in psutil.Process().parents())}
    mark = str(home.resolve())
    return [p for p in psutil.process_iter() if p.pid not in own and _mark(p) == mark]


def sweep(home: Path) -> list[psutil.Process]:
    """End everything that carries the mark of `home`, what it starts meanwhile too; return what is left."""
    for _ in range(3):
        if left := marked(home):
            end(left)
    return marked(home)


def wait_until(condition: Any, timeout_seconds: float, interval_seconds: float = 0.25) -> bool:
    """Ask `condition` until it holds or the time is over; return whether it held."""
    deadline = time.monotonic() + timeout_seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(interval_seconds)
    return True


def _ports(process: psutil.Process) -> list[int]:
    """Ports a process listens at."""
    try:
        found = process.net_connections("tcp")
    except psutil.Error:
        return []
    return [connection.laddr.port for connection in found if connection.status == psutil.CONN_LISTEN]


def _mark(process: psutil.Process) -> str | None:
    try:
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        return process.environ().get(MARK)
    except (psutil.Error, OSError):
        return None


def _session(leader: int) -> list[psutil.Process]:
    members = []
    for process in psutil.process_iter():
        try:
            if process.pid != leader and os.getsid(process.pid) == leader:
                members.append(process)
        except (psutil.Error, OSError):
            continue
    return members


def _send(processes: Iterable[psutil.Process], sig: signal.Signals) -> None:
    for process in processes:
        try:
            process.send_signal(sig)
        except psutil.Error:
            continue
