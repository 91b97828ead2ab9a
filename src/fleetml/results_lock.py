"""The lock between steps and the collector of garbage: a step shares it whenever it finds, reads or publishes a result
and until its record names that; the collector has it alone while it decides what nobody needs, and takes that away.

A step does not hold it while its command runs: then its run's record says what it uses. The system gives it back
however a process ends.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fleetml import lockfile


class Shared:
    """A share in the lock; `let_go` gives it back for a while."""

    def __init__(self, home: Path, lock: int) -> None:
        self._home, self._lock = home, lock

    @contextmanager
    def let_go(self) -> Iterator[None]:
        """Give the share back while the context lasts."""
        fcntl.flock(self._lock, fcntl.LOCK_UN)
        try:
            yield
        finally:
            _take_share(self._home, self._lock)


@contextmanager
def shared(home: Path) -> Iterator[Shared]:
    """Keep the collector away while the context lasts. Raises OSError where there can be no file in `home`."""
    home.mkdir(parents=True, exist_ok=True)
    with lockfile.opened(_place(home)) as lock:
        _take_share(home, lock)
        yield Shared(home, lock)


@contextmanager
def alone(home: Path) -> Iterator[None]:
    """Keep every step from results while the context lasts; waits for those that are at them now. Raises OSError."""
    home.mkdir(parents=True, exist_ok=True)
    with lockfile.opened(_gate(home)) as gate, lockfile.opened(_place(home)) as lock:
        fcntl.flock(gate, fcntl.LOCK_EX)
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _take_share(home: Path, lock: int) -> None:
    # Through a gate that the collector closes first: else steps that overlap would keep it waiting for ever.
    with lockfile.opened(_gate(home)) as gate:
        fcntl.flock(gate, fcntl.LOCK_SH)
        fcntl.flock(lock, fcntl.LOCK_SH)


def _place(home: Path) -> Path:
    return home / ".results.lock"


def _gate(home: Path) -> Path:
    return home / ".results.gate"
