"""The output of a command, as runners take it: whole lines, as many at once as there are."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from typing import IO

from fleetml.lines import Take, taker

LONGEST = 65_536  # bytes of a line; a longer one, which may be no line at all, is taken in pieces
_PATIENCE = 5.0  # s without a line until the output of a command that is gone counts as finished
_LOOKS = 12  # times _PATIENCE at most, for what never stops writing


class Reader(threading.Thread):
    """Takes raw lines as they come; goes on taking them after `on_line` failed (`error`), or the command would block.

    Each of `pieces` is one whole line or more, the last with or without its end. `last` is the last line.
    """

    def __init__(self, pieces: Iterable[bytes], on_line: Take) -> None:
        super().__init__(daemon=True)
        self._pieces = pieces
        self._take = taker(on_line)
        self._taken = 0
        self.error: Exception | None = None
        self.last = ""
        self.start()

    def run(self) -> None:
        for piece in self._pieces:
            self._taken += 1
            lines = piece.removesuffix(b"\n").decode(errors="replace").split("\n")
            if b"\r" in piece:
                lines = [line.rstrip("\r").rpartition("\r")[2] for line in lines]  # a progress bar's last state
            self.last = lines[-1]
            if self.error is None:
                try:
                    self._take(lines)
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
    """Yield the lines of a pipe as they come, several at once where they are there, one longer than `LONGEST` in pieces."""
    if stream is not None:
        yield from lines_of((piece, None) for piece in iter(lambda: stream.read1(LONGEST), b""))  # type: ignore[attr-defined]


def lines_of(frames: Iterable[tuple[bytes | None, bytes | None]]) -> Iterator[bytes]:
    """Yield the lines of two streams that come as pieces (stdout, stderr), whole and with their ends, several at once."""
    rests = [b"", b""]
    for frame in frames:
        for index, piece in enumerate(frame):
            if not piece:
                continue
            whole, end, rest = piece.rpartition(b"\n")
            if end:
                yield rests[index] + whole + end
            rests[index] = rest if end else rests[index] + rest
            if len(rests[index]) > LONGEST:
                yield rests[index]
                rests[index] = b""
    yield from filter(None, rests)
