"""Which process a number means: numbers are given anew, so a process is its number and the clock tick of its start since boot.

The time of its start would not do: it is reckoned from a clock that may be set. A tick means something between two boots only,
and a number in one namespace of process numbers.
"""

import os
from pathlib import Path

_PROC = Path("/proc")
# Of /proc/<pid>/stat, counted after the name in parentheses, which may hold spaces
_STATE, _STARTED = 0, 19


def started(pid: int | None = None) -> int:
    """Return the tick at which a process (this one) began, -1 for one that has ended, be it reaped or not."""
    try:
        said = (_PROC / str(pid or os.getpid()) / "stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return -1
    return -1 if said[_STATE] in "ZX" else int(said[_STARTED])


def boot() -> str:
    """Return what names the time since this machine was booted."""
    return (_PROC / "sys/kernel/random/boot_id").read_text().strip()


def namespace() -> str:
    """Return what names the process numbers we see: the machine's, or those of the container we are in."""
    return str((_PROC / "self/ns/pid").readlink())
