"""Which process began a trial, and whether it goes on.

A process is known by its number and the clock tick of its start, both of which mean something only in one namespace of process
numbers, between two boots. The time of its start would not do: it is reckoned from a clock that may be set.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_PROC = Path("/proc")
# Of /proc/<pid>/stat, counted after the name in parentheses, which may hold spaces
_STATE, _STARTED = 0, 19


def this() -> dict[str, Any]:
    """Return what names this process; JSON. `since` [s, Unix] is now."""
    boot = (_PROC / "sys/kernel/random/boot_id").read_text().strip()
    place = {"host": socket.gethostname(), "boot": boot, "namespace": str((_PROC / "self/ns/pid").readlink())}
    return {**place, "pid": os.getpid(), "started": _started(os.getpid()), "since": time.time()}


def lives(owner: Mapping[str, Any], patience: float) -> bool:
    """Return whether a process that `this` named goes on; one that cannot be seen from here does for `patience` [s]."""
    here = this()
    if all(owner.get(name) == here[name] for name in ("boot", "namespace")):
        return bool(_started(owner["pid"]) == owner["started"])
    if owner["host"] == here["host"] and owner.get("boot") != here["boot"]:  # it was booted since
        return False
    return bool(time.time() - owner["since"] < patience)


def _started(pid: int) -> int:
    """Return the clock tick since boot at which a process began, -1 for one that has ended."""
    try:
        said = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return -1
    return -1 if said[_STATE] in "ZX" else int(said[_STARTED])
