"""Hands what is to be told to others on in the background: nobody waits for a server that is slow, or not there."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from typing import Any

from fleetml.redaction import without_passwords

_STALLED = 2.0  # s without a delivery after which the end waits no more
_LONGEST = 10.0  # s that the end waits at most
_GIVEN_UP = 3  # failures in a row

Send = Callable[[], None]


def _not_ours(record: Any) -> bool:
    """Keep what a client says of each of its tries to itself: the outbox tells what came of them."""
    return not str(record.threadName).startswith("outbox-")


class Outbox:
    """One thread that does what `put` is given, in that order, once it has called `load` (imports, say).

    A failure is told once; after three in a row it stops, or where `load` fails.
    """

    def __init__(self, what: str, load: Callable[[], object] = lambda: None) -> None:
        self._what, self._load = what, load
        self._loaded = False
        self._waiting: queue.SimpleQueue[Send] = queue.SimpleQueue()
        self._changed = threading.Condition()
        self._put = self._done = self._failures = 0
        self._thread: threading.Thread | None = None

    def put(self, send: Send) -> None:
        """Have it done soon; return at once."""
        with self._changed:
            if self._failures >= _GIVEN_UP:
                return
            if self._thread is None or not self._thread.is_alive():  # none yet, or left behind by a fork
                import logging

                logging.getLogger("urllib3.connectionpool").addFilter(_not_ours)
                self._thread = threading.Thread(target=self._run, name=f"outbox-{self._what}", daemon=True)
                self._thread.start()
            self._put += 1
        self._waiting.put(send)

    def flush(self) -> None:
        """Wait until all is done, but not for a server that takes nothing."""
        end = time.monotonic() + _LONGEST
        with self._changed:
            if self._done < self._put:
                self._changed.wait_for(lambda: self._loaded, _LONGEST)
            while self._done < self._put:
                before = self._done
                self._changed.wait(min(_STALLED, max(0.0, end - time.monotonic())))
                if self._done == before or time.monotonic() >= end:
                    return

    def _run(self) -> None:
        self._do(self._load)
        with self._changed:
            self._failures *= _GIVEN_UP  # nothing can be sent by what cannot be loaded
            self._loaded = True
            self._changed.notify_all()
        while True:
            self._do(self._waiting.get())
            with self._changed:
                self._done += 1
                self._changed.notify_all()

    def _do(self, send: Callable[[], object]) -> None:
        if self._failures >= _GIVEN_UP:
            return
        try:
            send()
            self._failures = 0
        except Exception as error:
            self._failures += 1
            if self._failures == 1:
                import logging

                told = without_passwords(f"{type(error).__name__}: {error}")
                logging.getLogger("fleetml").warning("%s cannot be sent: %s", self._what, told)
