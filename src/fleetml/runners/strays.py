"""Finds and kills what a step left running (Linux).

A child may leave the step's process group, and daemons clear or overwrite their environment. So every process of a step
carries two marks that are handed on to its children: a variable, and a soft limit of real-time CPU seconds that nobody
reaches and that is its alone. Both are told by the name of the step's folder, which names its engine too: should that be
killed, the next engine on this machine removes what it left.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

from fleetml import process_identity

MARK = "FLEETML_STEP"  # its value is the step's own folder
_RTTIME = 15  # RLIMIT_RTTIME of Linux [microseconds], which `resource` does not name
_NAME = re.compile(r"fleetml-step-(?P<engine>\d+-\d+-\d+)-(?P<limit>\d+)\Z")
_ENOUGH = 1 << 16  # bytes of a file of a process; of a larger environment the limits tell
_PASSES = 20  # looks for what starts others meanwhile


def folder(place: Path) -> Path:
    """Return the path of a folder for one more step of this process, below `place`; it is yet to be made."""
    limit = (1 << 42) + int.from_bytes(os.urandom(5))  # 50 days at least
    return place / f"fleetml-step-{_engine(os.getpid())}-{limit}"


def marked(folder: Path, *command: str) -> tuple[str, ...]:
    """Return what runs the command with the mark of the step's folder; where util-linux is missing the variable alone does."""
    limit = limit_of(folder)
    return (tool("prlimit"), f"--rttime={limit}:", "--", *command) if _can_be_limited(limit) else command


def _can_be_limited(limit: int) -> bool:
    import resource

    highest = resource.getrlimit(_RTTIME)[1]  # a lower one may be set here already
    return bool(tool("prlimit")) and (highest == resource.RLIM_INFINITY or highest >= limit)


@functools.cache
def tool(name: str) -> str:
    """Return the path of a small program of util-linux that arranges something and becomes the command it is given.

    Between fork and exec Python could arrange it, but there a lock that another thread held, a tracer's or that of a
    library, stays held for ever. "" where it is missing.
    """
    import shutil

    return (shutil.which(name, path="/usr/bin:/bin") or "") if sys.platform == "linux" else ""


def kill(folder: Path, thorough: bool = False) -> None:
    """Kill all processes that carry one of the marks of a step's folder.

    The variables of a process are read only where its limit, a tenth of the work, does not tell: it is another one than
    usual, or the step got none. `thorough`: of every process.
    """
    thorough = thorough or not _can_be_limited(limit_of(folder))
    for _ in range(_PASSES):
        found = list(_marked(folder, thorough))
        for pid in found:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        if not found:
            break


def sweep(place: Path) -> None:
    """Once in a process: kill and remove what engines that are no more left below `place`."""
    _swept(place, os.getpid())


@functools.lru_cache(maxsize=1)
def _swept(place: Path, pid: int) -> None:
    import shutil

    for left in os.listdir(place) if sys.platform == "linux" and place.is_dir() else ():  # noqa: PTH208 - of thousands that are others'
        name = _NAME.match(left)
        if name and not _is_alive(name["engine"]):
            kill(place / left, thorough=True)
            shutil.rmtree(place / left, ignore_errors=True)


def _engine(pid: int) -> str:
    """Name a process among all of this machine, for ever: its PID namespace, its PID, when it began [ticks]."""
    if sys.platform != "linux":
        return f"0-{pid}-0"
    return f"{_namespace()}-{pid}-{process_identity.started(pid)}"


def _namespace() -> str:
    return re.sub(r"\D", "", process_identity.namespace())


def _is_alive(engine: str) -> bool:
    """Say whether a process may be alive: one of another namespace cannot be seen from here."""
    namespace, pid, began = engine.split("-")
    return namespace != _namespace() or process_identity.started(int(pid)) == int(began)


def limit_of(folder: Path) -> int:
    """Return the limit [microseconds] that marks the processes of a step's folder."""
    name = _NAME.match(folder.name)
    return int(name["limit"]) if name else 0


def _marked(folder: Path, thorough: bool) -> Iterator[int]:
    import resource

    variable, limit = f"{MARK}={folder}".encode(), limit_of(folder)
    for pid in filter(str.isdigit, os.listdir("/proc")) if sys.platform == "linux" else ():  # noqa: PTH208
        with contextlib.suppress(OSError):
            try:
                found = resource.prlimit(int(pid), _RTTIME)[0]
            except PermissionError:  # it may be another user's; what may be read of that tells
                found = 0
            unusual = thorough or found != resource.RLIM_INFINITY
            marked = found == limit or (unusual and variable in _told(pid, "environ").split(b"\0"))
            if marked and b"\nState:\tZ" not in _told(pid, "status"):
                yield int(pid)


def _told(pid: str, what: str) -> bytes:
    """Return a file of a process. By hand, for there may be some hundred of them at the end of every step."""
    file = os.open(f"/proc/{pid}/{what}", os.O_RDONLY)
    try:
        return os.read(file, _ENOUGH)
    finally:
        os.close(file)
