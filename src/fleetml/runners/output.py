"""The output of a command, line by line, as runners take it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from typing import IO

LONGEST = 65_536  # bytes of a line; a longer one, which may be no line at all, is taken in pieces
_PATIENCE = 5.0  # s without a line until the output of a command that is gone counts as finished
_LOOKS = 12  # times _PATIENCE at most, for what never stops writing


class Reader(threading.Thread):
    """Takes raw lines as they come; goes on taking them after `on_line` failed (`error`), or the command would block. `last` is the last line."""

    def __init__(self, lines: Iterable[bytes], on_line: Callable[[str], None]) -> None:
        super().__init__(daemon=True)
        self._lines = lines
        self._on_line = on_line
        self._taken = 0
        self.error: Exception | None = None
        self.last = ""
        self.start()

    def run(self) -> None:
        for raw in self._lines:
            self._taken += 1
            line = raw.decode(errors="replace").rstrip("\r\n")
            if "\r" in line:
                line = line.rpartition("\r")[2]  # a progress bar's last state
            self.last = line
            if self.error is None:
                try:
                    self._on_line(line)
                except Exception as error:
                    self.error = error

    def finish(self) -> bool:
        """Wait for the last lines of a command that is gone; return whether the stream came to its end."""
        for _ in range(_LOOKS):
            taken = self._taken
            self.join(_PATIENCE)
            if not self.is_alive() or self._taken == taken:
                break
        return not self.is_alive()


def lines_from(stream: IO[bytes] | None) -> Iterator[bytes]:
    """Yield the lines of a pipe, a line longer than `LONGEST` in pieces."""
    while stream and (line := stream.readline(LONGEST)):
        yield line


def lines_of(frames: Iterable[tuple[bytes | None, bytes | None]]) -> Iterator[bytes]:
    """Yield the lines of two streams that come as pieces (stdout, stderr), each line whole."""
    rests = [b"", b""]
    for frame in frames:
        for index, piece in enumerate(frame):
            if piece:
                *whole, rests[index] = (rests[index] + piece).split(b"\n")
                yield from whole
            if len(rests[index]) > LONGEST:
                yield rests[index]
                rests[index] = b""
    yield from filter(None, rests)
