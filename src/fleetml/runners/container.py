"""What containers have in common, whoever runs them."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterable

from fleetml import process_identity
from fleetml.errors import ConfigurationError
from fleetml.runners import Command

_HOME = "/tmp"  # noqa: S108  of the container, which is the step's alone


def variables(command: Command, passed: Iterable[str]) -> dict[str, str]:
    """Return the variables of a step's container beside those it declares; `passed` are names of our environment."""
    env = {name: os.environ[name] for name in passed if name in os.environ}
    # The image may not know our user, who has neither a name nor a home there.
    env |= {"HOME": _HOME, "USER": "fleetml", "LOGNAME": "fleetml", "PYTHONUNBUFFERED": "1"}
    if command.limits.cpus:
        env["OMP_NUM_THREADS"] = str(max(1, int(command.limits.cpus)))
    return env


def status_of(code: int) -> int:
    """Return an exit code as a status: 128 + n is the way of engines to tell signal n."""
    return -(code - 128) if code - 128 in signal.valid_signals() else code


def no_program(command: Command, said: str) -> ConfigurationError:
    """Return what a command is told whose program its image does not have."""
    program = command.argv[0] if command.argv else "(its own)"
    return ConfigurationError(
        f"image '{command.image.name}' has no program '{program}' that can be run: {said}; "
        "correct the component's command or add the program to the image"
    )


def owner(pid: int | None = None) -> str:
    """Return "host pid start" of the process (this one) that waits for a container."""
    return f"{_here()} {pid or os.getpid()} {_start(pid)}"


def orphaned(by: str) -> bool:
    """Say whether an `owner` was a process of this machine that is no more.

    A start without the boot is one of an older FleetML, in seconds of a clock that may be set: its process counts as alive
    while any has its number.
    """
    host, pid, start = by.split()
    if host != _here():
        return False
    return start != _start(int(pid)) if "/" in start else process_identity.started(int(pid)) == -1


def _start(pid: int | None) -> str:
    return f"{process_identity.boot()}/{process_identity.started(pid)}"


def _here() -> str:
    """Where a pid means a process: this machine, or the container on it that we are in ourselves."""
    return f"{socket.gethostname()}/{process_identity.namespace()}"
