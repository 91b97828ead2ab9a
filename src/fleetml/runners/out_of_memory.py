"""What steps use of this machine's memory, and whether the kernel killed for want of it (Linux)."""

from __future__ import annotations

import contextlib
import os
import re
import signal
from pathlib import Path

_KILLED = (-signal.SIGKILL, 128 + signal.SIGKILL)  # itself; what its shell ran
_KILLS = rb"(?m)^oom_kill (\d+)"


class Kills:
    """The kernel's count of processes that it killed because memory ran out, of the machine or of a control group.

    It does not say which they were: a step that was killed while the count rose is taken for one of them.
    """

    def __init__(self, told: Path = Path("/proc/vmstat")) -> None:
        self._told = told
        self.look()

    def look(self) -> None:
        """Forget what was; to be called now and then, as others are killed as well."""
        self._before = self._count()

    def ended(self, status: int) -> bool:
        """Say whether a command that has just ended with `status` (negative: signal) was killed for want of memory."""
        return status in _KILLED and self._count() > self._before

    def _count(self) -> int:
        with contextlib.suppress(OSError):
            if found := re.search(_KILLS, self._told.read_bytes()):
                return int(found[1])
        return 0


def resident(pid: int) -> int:
    """Return the resident bytes of one process, 0 once it is gone; cheap enough to be asked all the time."""
    with contextlib.suppress(OSError, IndexError, ValueError):
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0


def family(pid: int) -> int:
    """Return the resident bytes of a process and its descendants (shared pages count once for each)."""
    import psutil  # here, as a run of cache hits starts no process

    total = 0
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(pid)
        for member in (process, *process.children(recursive=True)):
            with contextlib.suppress(psutil.Error):
                total += member.memory_info().rss
    return total
