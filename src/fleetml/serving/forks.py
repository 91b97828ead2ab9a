"""Processes forked from one that has imported everything: another one of them is there in a fraction of a second.

Whoever forks has one thread. A child and its parent see each other's end by process descriptors, whoever else holds copies
of their pipes.
"""

import os
import signal
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass

_ENDS = {signal.SIGTERM, signal.SIGINT}


@dataclass(frozen=True)
class Child:
    """`ended` can be read once the process is over."""

    pid: int
    ended: int

    def status(self) -> int | None:
        """Return the exit status (-n: killed by signal n), None while it runs; then the descriptor is closed."""
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        if pid == 0:
            return None
        os.close(self.ended)
        return os.waitstatus_to_exitcode(status)

    def gave_up(self) -> int:
        """Return the status with which it ended by itself, without forgetting it; 0: it runs, or was killed, or all is well."""
        found = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        return found.si_status if found and found.si_code == os.CLD_EXITED else 0

    def send(self, number: signal.Signals) -> None:
        """Only to a child whose status was not asked for since it ended: its number is nobody else's yet."""
        os.kill(self.pid, number)


def fork(work: Callable[[], int]) -> Child:
    """Run `work` in a child; what it returns is the child's exit status, 1 for an exception, which is printed."""
    sys.stdout.flush()
    sys.stderr.flush()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _ENDS)  # the child must not act on them as its parent would
    pid = os.fork()
    if pid:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return Child(pid, os.pidfd_open(pid))
    status = 1
    try:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to all; the first process says when
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        status = work()
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)  # never back into what the parent was doing


def parent(expected: int) -> int:
    """Return a descriptor that can be read once the parent, process `expected`, is over."""
    descriptor = os.pidfd_open(expected)
    if os.getppid() == expected:
        return descriptor
    os.close(descriptor)  # it was over before, and the number is somebody else's
    ready, other = os.pipe()
    os.close(other)
    return ready
