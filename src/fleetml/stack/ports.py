"""Free ports on loopback."""

import contextlib
import fcntl
import os
import socket
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from fleetml import lockfile

HOST = "127.0.0.1"
_TRIES = 20


def free(preferred: int | None = None) -> int:
    """Return `preferred` if nobody listens there, else a port the system says is free."""
    for port in (preferred, 0):
        if port is not None and (found := _bind(port)):
            return found
    raise OSError(f"no free port on {HOST}")


@contextlib.contextmanager
def reserving() -> Iterator[Callable[[int | None], int]]:
    """Yield what `free` is, for ports that no other stack of this user is about to use while the context lasts.

    Between the choice of a port and the moment its server listens, another checkout would find it free too.
    """
    folder = Path(tempfile.gettempdir()) / f"fleetml-ports-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    with contextlib.ExitStack() as held:

        def reserve(preferred: int | None = None) -> int:
            for attempt in range(_TRIES):
                port = free(preferred if attempt == 0 else None)
                lock = held.enter_context(lockfile.opened(folder / str(port)))
                with contextlib.suppress(OSError):
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    if _bind(port):  # its last holder may listen by now
                        return port
            raise OSError(f"no free port on {HOST}")

        yield reserve


def _bind(port: int) -> int | None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a port in TIME_WAIT is free
        try:
            probe.bind((HOST, port))
        except OSError:
            return None
        return int(probe.getsockname()[1])
