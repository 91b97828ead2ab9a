"""Results files as a run of measurements leaves them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

START = 1_766_947_958.0
"""When the first scenario of a file begins [s since the epoch]."""


def scenario(name: str = "4 Streams @ 2500k", **facts: Any) -> dict[str, Any]:
    """Return a scenario of 10 s at 20 W, 2 cores; None takes a field away."""
    known = {
        "name": name,
        "bitrate": "2500k",
        "resolution": "1280x720",
        "fps": 30,
        "duration": 10,
        "encoder": "h264",
        "preset": "veryfast",
        "encoder_type": "cpu",
        "power_watts": [20.0, 20.0, 20.0],
        "cpu_usage_cores": [2.0, 2.0, 2.0],
        "step_seconds": 5,
        **facts,
    }
    return {key: value for key, value in known.items() if value is not None}


def idle(**facts: Any) -> dict[str, Any]:
    """Return the idle machine: 8 W."""
    return scenario("Baseline (Idle)", bitrate="0k", power_watts=[8.0, 8.0, 8.0], cpu_usage_cores=[0.1] * 3, **facts)


def content(scenarios: Sequence[Mapping[str, Any]], date: str = "2026-01-01T00:00:00") -> str:
    """Return the text of a file; scenarios follow each other where they have no times."""
    timed = [
        {"start_time": START + 60 * place, "end_time": START + 60 * place + 10, **each}
        for place, each in enumerate(scenarios)
    ]
    return json.dumps({"test_date": date, "scenarios": timed})


def write(
    folder: Path, *scenarios: Mapping[str, Any], name: str = "test_results_1.json", date: str = "2026-01-01"
) -> Path:
    """Write a file into a folder."""
    path = folder / name
    path.write_text(content(scenarios, date))
    return path


def samples(text: bytes | str) -> dict[str, dict[str, float]]:
    """Return what a scrape tells: metric -> value of its label ``scenario`` ("" without labels) -> value."""
    told: dict[str, dict[str, float]] = {}
    for line in (text.decode() if isinstance(text, bytes) else text).splitlines():
        if not line.startswith("#"):
            series, _, value = line.rpartition(" ")
            name, _, labels = series.partition("{")
            label = labels.partition('scenario="')[2].partition('"')[0]
            told.setdefault(name, {})[label] = float(value)
    return told
