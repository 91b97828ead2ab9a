"""The output of commands, from their pipe to whoever takes the lines."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence

import pytest

from fleetml.runners.output import LONGEST, Reader, lines_from, lines_of


class Several:
    """Takes lines by the list, as a log does."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.calls = 0

    def __call__(self, line: str) -> None:
        raise AssertionError("one by one")

    def several(self, lines: Sequence[str]) -> None:
        self.lines += lines
        self.calls += 1


def taken(pieces: Iterator[bytes]) -> list[str]:
    lines: list[str] = []
    reader = Reader(pieces, lines.append)
    assert reader.finish()
    assert reader.error is None
    return lines


@pytest.mark.parametrize("written", [b"", b"\n", b"one", b"one\n", b"\n\none\n\n", b"a\r\nb\r\n", b"\xc3\xa4\n\xff\n"])
def test_lines_are_those_that_were_written(written: bytes) -> None:
    assert taken(lines_from(io.BytesIO(written))) == written.decode(errors="replace").splitlines()


def test_of_a_progress_bar_its_last_state_is_taken() -> None:
    assert taken(lines_from(io.BytesIO(b"start\n 1%\r 50%\r100%\r\nend"))) == ["start", "100%", "end"]


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_lines_are_whole_however_their_stream_is_cut_and_streams_are_not_mixed(size: int) -> None:
    out, err = b"one\ntwo\n\nend", b"ERR\n"
    cut = [(out[at : at + size], None) for at in range(0, len(out), size)]
    frames = [*cut[:1], (None, err[:2]), *cut[1:], (None, err[2:])]
    assert sorted(taken(lines_of(frames))) == sorted(["one", "two", "", "end", "ERR"])


def test_a_line_without_end_is_taken_in_pieces() -> None:
    lines = taken(lines_from(io.BytesIO(b"x" * (5 * LONGEST) + b"\nend\n")))
    assert "".join(lines[:-1]) == "x" * (5 * LONGEST)
    assert max(map(len, lines)) <= 2 * LONGEST
    assert lines[-1] == "end"


def test_a_flood_of_short_lines_is_handed_on_by_the_thousand() -> None:
    several = Several()
    assert Reader(lines_from(io.BytesIO(b"y\n" * 1_000_000)), several).finish()
    assert several.lines == ["y"] * 1_000_000
    assert several.calls < 1000


def test_the_rest_is_read_after_the_lines_could_not_be_taken() -> None:
    def full(line: str) -> None:
        raise OSError("disk full")

    reader = Reader(lines_from(io.BytesIO(b"one\ntwo\n")), full)
    assert reader.finish()
    assert str(reader.error) == "disk full"
    assert reader.last == "two"
