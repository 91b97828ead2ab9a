"""What a scenario and the results of a file say of themselves."""

import json

import pytest

from fleetml.cost.results_files import parse
from fleetml.cost.scenarios import Output
from tests.cost.results import facts, one, results


def test_a_ladder_is_sorted_largest_first_and_its_pixels_add_up() -> None:
    rungs = [{"resolution": "854x480", "fps": 30}, {"resolution": "1920x1080", "fps": 30}]
    found, _ = one(outputs=rungs)
    assert found.outputs == (Output(854, 480, 30.0), Output(1920, 1080, 30.0))
    assert found.ladder == "1920x1080@30,854x480@30"
    assert found.pixels == (854 * 480 + 1920 * 1080) * 30 * 20


def test_resolution_not_applicable_has_no_pixels_and_is_no_mistake() -> None:
    found, remarks = one(resolution="N/A")
    assert (found.resolution, found.pixels, found.ladder, remarks) == (None, None, None, ())


def test_the_baseline_is_the_idle_machine_whose_power_is_known() -> None:
    unknown = facts(name="idle", power_watts=None, cpu_usage_cores=None, start_time=0.0, end_time=20.0)
    idle = facts(name="Baseline (Idle)", bitrate="0k", start_time=100.0, end_time=120.0)
    found = results(unknown, facts(), idle)
    assert found.baseline is not None
    assert found.baseline.name == "Baseline (Idle)"
    assert found.baseline.pixels is None
    assert results(facts()).baseline is None
    assert results(facts(name="Bridleway")).baseline is None


@pytest.mark.parametrize(
    "name", ["4 Streams @ 2500k (baseline profile)", "H.264 Baseline Profile 2500k", "Single Stream baseline"]
)
def test_a_workload_that_says_baseline_is_not_the_idle_machine(name: str) -> None:
    """H.264 has a profile of that name; savings against a loaded machine would be wrong numbers."""
    assert results(facts(name=name)).baseline is None


@pytest.mark.parametrize(
    ("date", "when"),
    [
        ("1970-01-01T01:00:00", 3600.0),
        ("1970-01-01T02:00:00+01:00", 3600.0),
        ("yesterday", 1020.0),
        (None, 1020.0),
    ],
)
def test_a_file_is_as_old_as_its_date_says_or_its_scenarios(date: str | None, when: float) -> None:
    assert parse(json.dumps({"test_date": date, "scenarios": [facts()]}), "test_results_1.json").when == when
