"""The log of an attempt."""

from __future__ import annotations

import io

import pytest

from fleetml.step.log import MOST, Log


def logged(lines: list[str], largest: int, most: int = MOST, at_once: int = 1) -> tuple[list[str], list[str]]:
    stream, heard = io.StringIO(), []
    log = Log(stream, heard.append, largest, most)
    for place in range(0, len(lines), at_once):
        log.several(lines[place : place + at_once])
    log.end()
    return stream.getvalue().splitlines(), heard


def test_lines_are_written_and_told_as_they_come() -> None:
    assert logged(["one", "two"], 100) == (["one", "two"], ["one", "two"])


@pytest.mark.parametrize("at_once", [1, 7, 99, 100, 1000])
@pytest.mark.parametrize(("largest", "most"), [(400, MOST), (MOST, 99)])
def test_of_a_flood_the_beginning_and_the_end_are_kept(largest: int, most: int, at_once: int) -> None:
    written, heard = logged([f"{number:03}" for number in range(1000)], largest, most, at_once)
    assert written == heard
    assert written[:99] == [f"{number:03}" for number in range(99)]
    assert "701 lines are left out" in written[99]
    assert written[100:] == [f"{number:03}" for number in range(800, 1000)]


def test_a_little_too_much_is_kept_whole() -> None:
    assert logged(["12345"] * 20, 60)[0] == ["12345"] * 20
