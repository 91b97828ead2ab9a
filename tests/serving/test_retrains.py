"""When a retrain may begin: one at a time, not too soon after the last, not too many a day."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fleetml.serving import retrains
from fleetml.serving.retrains import Limits

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
LIMITS = Limits(cooldown=6 * HOUR, longest=4 * HOUR, per_day=2)


def begin(root: Path, hours: float, limits: Limits = LIMITS, model: str = "cpu") -> tuple[str, str]:
    return retrains.begin(root, model, {"reason": "drift"}, limits, NOON + hours * HOUR)


def test_one_is_under_way_until_it_ended_or_counts_as_dead(tmp_path: Path) -> None:
    patient = Limits(timedelta(0), 4 * HOUR, 9)
    key, _ = begin(tmp_path, 0, patient)
    assert key == "cpu-20260301T120000"
    assert "under way" in begin(tmp_path, 3.9, patient)[1]
    second, why = begin(tmp_path, 4, patient)
    assert (second, why) == ("cpu-20260301T160000", "")
    retrains.end(tmp_path, "cpu", second, NOON + 5 * HOUR)
    assert begin(tmp_path, 5, patient)[0]


def test_the_cooldown_counts_from_the_beginning(tmp_path: Path) -> None:
    key, _ = begin(tmp_path, 0)
    retrains.end(tmp_path, "cpu", key, NOON + HOUR)
    assert (
        begin(tmp_path, 5.9)[1]
        == "the last retrain began at 2026-03-01 12:00 UTC, the next may from 2026-03-01 18:00 UTC on"
    )
    assert begin(tmp_path, 6)[0]


def test_a_day_has_its_budget(tmp_path: Path) -> None:
    for hours in (0, 6):
        assert begin(tmp_path, hours)[0]
    assert begin(tmp_path, 12)[1] == "2 retrains have begun in the last 24 hours, 2 may"
    assert begin(tmp_path, 24)[0]
    assert begin(tmp_path / "new", 0, Limits(timedelta(0), timedelta(0), 0))[1].startswith("0 retrains have begun")


def test_models_do_not_wait_for_each_other(tmp_path: Path) -> None:
    assert begin(tmp_path, 0)[0]
    assert begin(tmp_path, 0, model="bandwidth")[0]
    retrains.end(tmp_path, "cpu", "bandwidth-20260301T120000", NOON)
    assert "under way" in begin(tmp_path, 1, model="bandwidth")[1]


def test_a_line_that_a_crash_cut_off_is_none(tmp_path: Path) -> None:
    key, _ = begin(tmp_path, 0)
    with (tmp_path / retrains.FILE).open("a") as file:
        file.write('{"time": "2026-03-01T13:00')
    retrains.end(tmp_path, "cpu", key, NOON + HOUR)
    assert [line["state"] for line in retrains.read(tmp_path)] == ["begun", "ended"]
    assert begin(tmp_path, 7)[0]


def test_of_many_that_ask_at_once_one_begins(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda _: begin(tmp_path, 0), range(16)))
    assert len([key for key, _ in answers if key]) == 1


def test_nothing_was_asked_for_yet(tmp_path: Path) -> None:
    assert retrains.read(tmp_path) == []


@pytest.mark.parametrize("state", ["begun", "ended"])
def test_the_lines_say_why(tmp_path: Path, state: str) -> None:
    key, _ = begin(tmp_path, 0)
    retrains.end(tmp_path, "cpu", key, NOON)
    (line,) = (line for line in retrains.read(tmp_path) if line["state"] == state)
    assert (line["model"], line["id"], line.get("reason")) == ("cpu", key, "drift" if state == "begun" else None)
