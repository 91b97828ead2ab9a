"""The log of one attempt: what a command prints, line by line, and no more than a disk and a reader can bear."""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import IO

from fleetml.lines import taker

LARGEST = 64 * 2**20  # characters that are kept as they come
MOST = 1_000_000  # lines that are; whoever hears of them does so one by one
_LAST = 200  # lines that are kept of what comes after


class Log:
    """Writes lines to `stream` and tells `hear` of them; of a flood it keeps the beginning and the last lines."""

    def __init__(self, stream: IO[str], hear: Callable[[str], None], largest: int = LARGEST, most: int = MOST) -> None:
        self._stream, self._hear = stream, taker(hear)
        self._left, self._lines_left = largest, most
        self._last: deque[str] = deque(maxlen=_LAST)
        self._flooded = 0

    def __call__(self, line: str) -> None:
        self.several([line])

    def several(self, lines: Sequence[str]) -> None:
        """Take lines, many in one call."""
        kept = lines[: self._room(lines)]
        if kept:
            self._write(kept)
        self._flooded += len(lines) - len(kept)
        self._last.extend(lines[len(kept) :][-_LAST:])

    def _room(self, lines: Sequence[str]) -> int:
        """Return how many of the lines are kept as they come, and count them."""
        if self._flooded:
            return 0
        sizes = [*accumulate(len(line) + 1 for line in lines[: self._lines_left])]
        room = bisect_left(sizes, self._left)
        self._left -= sizes[room - 1] if room else 0
        self._lines_left -= room
        return room

    def end(self) -> None:
        """Write the last lines of a flood, and how many there were before them."""
        lost = self._flooded - len(self._last)
        if lost:
            self._write([f"fleetml: … {lost:,} lines are left out here: a log is as large as this and no larger …"])
        if self._last:
            self._write(list(self._last))

    def _write(self, lines: Sequence[str]) -> None:
        self._stream.write("\n".join(lines) + "\n")
        self._hear(lines)
