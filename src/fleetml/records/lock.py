"""The lock on a run: who holds it runs it; the system gives it back however the process ends."""

from __future__ import annotations

import fcntl
import time
from pathlib import Path

from fleetml import lockfile


def take(lock: int) -> bool:
    """Lock a file for this process; whoever only looks whether it is locked holds it for an instant, so ask again."""
    for pause in (0.02, 0.05, 0.1, 0.0):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(pause)
        else:
            return True
    return False


def is_taken(place: Path) -> bool:
    """Say whether a process has the lock. Raises OSError."""
    with lockfile.opened(place) as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
