"""What is to be told goes out in order, and in nobody's way."""

from __future__ import annotations

import threading

import pytest

from fleetml import outbox
from fleetml.outbox import Outbox


def test_all_goes_out_in_order() -> None:
    done: list[int] = []
    box = Outbox("notes")
    for number in range(100):
        box.put(lambda number=number: done.append(number))  # type: ignore[misc]
    box.flush()
    assert done == list(range(100))


def test_a_failure_is_told_once_and_the_third_in_a_row_is_the_last(caplog: pytest.LogCaptureFixture) -> None:
    done: list[int] = []
    box = Outbox("notes")

    def fail(number: int) -> None:
        done.append(number)
        raise ConnectionError("http://u:secret@h is gone")

    for number in range(10):
        box.put(lambda number=number: fail(number))  # type: ignore[misc]
    box.flush()
    assert done == [0, 1, 2]
    (said,) = [record.getMessage() for record in caplog.records]
    assert said == "notes cannot be sent: ConnectionError: http://u:***@h is gone"
    box.put(lambda: done.append(99))
    box.flush()
    assert done == [0, 1, 2]


def test_what_cannot_be_loaded_sends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    done: list[int] = []

    def load() -> None:
        raise ImportError("no such client")

    box = Outbox("notes", load)
    for number in range(3):
        box.put(lambda number=number: done.append(number))  # type: ignore[misc]
    box.flush()
    assert done == []
    assert [record.getMessage() for record in caplog.records] == ["notes cannot be sent: ImportError: no such client"]


def test_a_success_forgives_what_was_before() -> None:
    done: list[int] = []
    box = Outbox("notes")
    for number in range(9):
        box.put(lambda number=number: done.append(number) if number % 3 == 2 else 1 / 0)  # type: ignore[misc]
    box.flush()
    assert done == [2, 5, 8]


def test_the_end_does_not_wait_for_a_server_that_takes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "_STALLED", 0.05)
    box, gate = Outbox("notes"), threading.Event()
    box.put(lambda: gate.wait(60) and None)
    box.flush()
    assert not gate.is_set()
    gate.set()
    box.flush()
