"""Scenarios as results files hold them, and what is read of them."""

import json
from typing import Any

from fleetml.cost.results_files import parse
from fleetml.cost.scenarios import Results, Scenario


def facts(**changes: Any) -> dict[str, Any]:
    """A scenario as a file holds it."""
    known: dict[str, Any] = {
        "name": "4 Streams @ 2500k",
        "bitrate": "2500k",
        "resolution": "1280x720",
        "fps": 30,
        "duration": 20,
        "encoder": "h264",
        "preset": "veryfast",
        "encoder_type": "cpu",
        "start_time": 1000.0,
        "end_time": 1020.0,
        "outputs": None,
        "viewers": 100,
        "vmaf_score": 92.1,
        "psnr_score": 41.0,
        "power_watts": [10, 12, 14, 12, 10],
        "cpu_usage_cores": [1, 2, 3, 2, 1],
        "step_seconds": 5,
    }
    return known | changes


def results(*scenarios: Any) -> Results:
    return parse(json.dumps({"test_date": "2026-01-01T00:00:00", "scenarios": list(scenarios)}), "test_results_1.json")


def one(**changes: Any) -> tuple[Scenario, tuple[str, ...]]:
    found = results(facts(**changes))
    return found.scenarios[0], found.remarks
