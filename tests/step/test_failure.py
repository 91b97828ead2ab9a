"""Why a step failed, read from what it left."""

from __future__ import annotations

from pathlib import Path

import pytest

from fleetml.step.failure import of_process


@pytest.mark.parametrize(
    ("last", "type", "message"),
    [
        ("ValueError: too small", "ValueError", "too small"),
        ("Exception: no reason", "Exception", "no reason"),
        ("my.own.BadError", "my.own.BadError", ""),
        ("SystemExit: 3", "SystemExit", "3"),
    ],
)
def test_what_was_raised_is_read_from_the_end_of_the_log(tmp_path: Path, last: str, type: str, message: str) -> None:
    log = tmp_path / "log"
    log.write_text(f'Traceback\n  File "/home/me/work.py", line 7, in work\n    work()\n{last}\n')
    found = of_process(tmp_path, log, "exit status 1")
    assert (found["type"], found["message"], found["file"], found["line"]) == (type, message, "/home/me/work.py", 7)


def test_a_last_line_that_tells_of_no_error_is_shown_as_it_is(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("Exceptions are rare: here\n")
    assert of_process(tmp_path, log, "exit status 1") == {
        "type": "",
        "message": "exit status 1",
        "tail": ("Exceptions are rare: here",),
    }
