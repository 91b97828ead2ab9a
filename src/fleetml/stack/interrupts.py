"""One way out for every request to stop: Ctrl-C, a terminate, a closed terminal."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

_ASKED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Turn SIGINT, SIGTERM and SIGHUP into KeyboardInterrupt, so that one clean-up serves them all.

    SIGINT is set too: a shell starts background jobs with it ignored. Main thread only.
    """
    before = {sig: signal.signal(sig, _interrupt) for sig in _ASKED}
    try:
        yield
    finally:
        for sig, handler in before.items():
            signal.signal(sig, handler)


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Let a clean-up finish although the user presses Ctrl-C again. Threads but the main one are never interrupted.

    The signals are caught, not ignored: what is ignored here would be ignored by the processes started meanwhile.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {sig: signal.signal(sig, _pass) for sig in _ASKED}
    try:
        yield
    finally:
        for sig, handler in before.items():
            signal.signal(sig, handler)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _pass(number: int, frame: FrameType | None) -> None:
    pass
