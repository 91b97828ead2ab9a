"""A lock is a plain file: what stands in its place is refused at once."""

from __future__ import annotations

import fcntl
import os
import threading
from pathlib import Path

import pytest

from fleetml import lockfile, results_lock
from fleetml.records import Run


def test_a_lock_is_made_where_it_is_missing_and_keeps_what_is_in_it(tmp_path: Path) -> None:
    place = tmp_path / "a.lock"
    with lockfile.opened(place) as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with lockfile.opened(place) as other, pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    place.write_text("x")
    with lockfile.opened(place):
        pass
    assert place.read_text() == "x"


@pytest.mark.timeout(60)
def test_who_comes_second_is_told_and_waits(tmp_path: Path) -> None:
    place, told, order = tmp_path / "a.lock", threading.Event(), []

    def second() -> None:
        with lockfile.held(place, told.set):
            order.append("second")

    with lockfile.held(place, lambda: order.append("waited")):
        other = threading.Thread(target=second)
        other.start()
        assert told.wait(60)
        order.append("first")
    other.join()
    assert order == ["first", "second"]


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", ["runs/r/.lock", ".results.lock", ".results.gate"])
def test_a_pipe_in_place_of_a_lock_is_refused_and_nobody_waits(tmp_path: Path, name: str) -> None:
    place = tmp_path / name
    place.parent.mkdir(parents=True, exist_ok=True)
    os.mkfifo(place)
    with pytest.raises(OSError, match="plain file"), results_lock.shared(tmp_path), Run(tmp_path, "r").held():
        pass
