"""Free ports on loopback."""

import socket

HOST = "127.0.0.1"


def free(preferred: int | None = None) -> int:
    """Return `preferred` if nobody listens there, else a port the system says is free."""
    for port in (preferred, 0):
        if port is not None and (found := _bind(port)):
            return found
    raise OSError(f"no free port on {HOST}")


def _bind(port: int) -> int | None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a port in TIME_WAIT is free
        try:
            probe.bind((HOST, port))
        except OSError:
            return None
        return int(probe.getsockname()[1])
