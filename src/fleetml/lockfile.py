"""Files that processes lock: opened so that nothing that stands in their place can keep us waiting."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def opened(place: Path) -> Iterator[int]:
    """Give the descriptor of a file for `fcntl.flock`, which is made where it is missing; what is in it stays.

    Raises OSError, also for a pipe or a device in its place: to open one may take for ever.
    """
    file = os.open(place, os.O_RDWR | os.O_CREAT | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
    try:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            raise OSError(errno.EINVAL, "a lock is a plain file, this is none; remove it", str(place))
        yield file
    finally:
        os.close(file)


@contextmanager
def held(place: Path, waiting: Callable[[], object] = lambda: None) -> Iterator[int]:
    """Be the only one who holds this lock, and give its descriptor; `waiting` is called once where another does. Raises OSError as `opened`."""
    with opened(place) as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waiting()
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield lock
