"""``python -m fleetml`` is ``fleetml``."""

from __future__ import annotations

import atexit
import gc
import os
import sys
import threading

from fleetml.cli import main

_MANY = 50_000  # new objects between looks for garbage: what is imported stays, to look through it takes longer than to load it


def command() -> int:
    """Run one command as a process of its own; return the exit status where Python is to end it."""
    gc.set_threshold(_MANY)
    status = main()
    _leave(status)
    return status


def _leave(status: int) -> None:
    """End this process as Python would, but do not take apart what its end frees anyway: that takes as long as ten cached steps.

    Returns where more is to be done: a thread is to be waited for, or what was printed cannot be written.
    """
    if threading.active_count() > 1:
        return
    atexit._run_exitfuncs()
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except (OSError, ValueError):  # closed, or nobody reads it any more
        return
    os._exit(status)


if __name__ == "__main__":
    sys.exit(command())
