"""The log of one attempt: what a command prints, line by line, and no more than a disk can bear."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import IO

LARGEST = 64 * 2**20  # characters that are kept as they come
_LAST = 200  # lines that are kept of what comes after


class Log:
    """Writes lines to `stream` and tells `hear` of them; of a flood it keeps the beginning and the last lines."""

    def __init__(self, stream: IO[str], hear: Callable[[str], None], largest: int = LARGEST) -> None:
        self._stream, self._hear, self._left = stream, hear, largest
        self._last: deque[str] = deque(maxlen=_LAST)
        self._flooded = 0

    def __call__(self, line: str) -> None:
        self._left -= len(line) + 1
        if self._left > 0 and not self._flooded:
            self._write(line)
        else:
            self._flooded += 1
            self._last.append(line)

    def end(self) -> None:
        """Write the last lines of a flood, and how many there were before them."""
        lost = self._flooded - len(self._last)
        if lost:
            self._write(f"fleetml: … {lost:,} lines are left out here: a log is as large as this and no larger …")
        for line in self._last:
            self._write(line)

    def _write(self, line: str) -> None:
        self._stream.write(line + "\n")
        self._hear(line)
