"""The process of a trial: its session, its limits, its end."""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import sys
from pathlib import Path

import psutil

_MB = 2**20
_PR_SET_PDEATHSIG = 1


def enter(memory_mb: int) -> None:
    """Make this fork a trial's: a session of its own, that dies with its parent, on one thread, under its limit."""
    os.setsid()
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    for number in (signal.SIGTERM, signal.SIGINT):  # the handlers of a step are not a trial's
        signal.signal(number, signal.SIG_DFL)
    if memory_mb:
        _limit(memory_mb)
    with contextlib.suppress(
        OSError
    ):  # where the machine's memory is less than the limit, the kernel ends this one, not the study
        Path("/proc/self/oom_score_adj").write_text("1000")
    _one_thread()


def _limit(memory_mb: int) -> None:
    """Refuse what would exceed the limit by a quarter in one go; the parent looks at what is really used."""
    vms = psutil.Process().memory_info().data
    most = int(vms + 1.25 * memory_mb * _MB)
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))


def _one_thread() -> None:
    os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"))
    with contextlib.suppress(ImportError):
        import threadpoolctl

        threadpoolctl.threadpool_limits(1)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


def memory(pid: int) -> int:
    """Return what a process and all it has started hold in memory [bytes]; 0 of one that is gone."""
    try:
        process = psutil.Process(pid)
        return sum(_resident(each) for each in (process, *process.children(recursive=True)))
    except psutil.NoSuchProcess:
        return 0


def _resident(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.NoSuchProcess:
        return 0


def kill(pid: int) -> None:
    """End a trial's process and all of its session; not yet waited for, its number is nobody else's."""
    for end, number in ((os.killpg, pid), (os.kill, pid)):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            end(number, signal.SIGKILL)
