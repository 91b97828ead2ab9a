"""Results files where there are none. Everything here is SYNTHETIC: invented, not measured.

``synthetic://?files=3&seed=7``: each file holds an idle machine, 1 to 8 streams at three bitrates, and two ladders; the power of
n streams at b Mbit/s is 5 + (1.2 + 0.08 b) n watts, and flickers.
"""

from __future__ import annotations

import random
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from fleetml.errors import InvalidParameter

SCHEME = "synthetic"
IDLE, PER_STREAM, PER_MBPS = 5.0, 1.2, 0.08  # W
_BEGIN, _STEP, _SAMPLES = 1_767_225_600, 5.0, 25  # 2026-01-01, two minutes each
_LADDER = (("1920x1080", 30), ("1280x720", 30), ("854x480", 30))


def documents(source: str) -> dict[str, dict[str, Any]]:
    """Return the files that a URL asks for, by name. Raises InvalidParameter."""
    files, seed = _options(source)
    return {f"test_results_synthetic_{number}.json": _document(number, seed) for number in range(1, files + 1)}


def watts(streams: int, mbps: float) -> float:
    """Return the mean power that is aimed at [W]."""
    return IDLE + (PER_STREAM + PER_MBPS * mbps) * streams


def _options(source: str) -> tuple[int, int]:
    found = {"files": "3", "seed": "7", **dict(parse_qsl(urlsplit(source).query, keep_blank_values=True))}
    if set(found) != {"files", "seed"} or not all(value.isdecimal() for value in found.values()):
        raise InvalidParameter(f"synthetic results are {SCHEME}://?files=3&seed=7, got {source!r}; correct it")
    files = int(found["files"])
    if not 1 <= files <= 1000:
        raise InvalidParameter(f"synthetic results are of 1 to 1000 files, got {files}; correct {source!r}")
    return files, int(found["seed"])


def _document(number: int, seed: int) -> dict[str, Any]:
    source = random.Random(f"{seed}/{number}")  # noqa: S311 - nothing secret
    begin = _BEGIN + number * 86_400
    scenarios = [_scenario(source, "Baseline (Idle)", "0k", IDLE, 0)]
    for streams in (1, 2, 4, 8):
        for mbps in (1.0, 2.5, 5.0):
            name, power = f"{streams} Streams @ {1000 * mbps:g}k", watts(streams, mbps)
            scenarios.append(_scenario(source, name, f"{1000 * mbps:g}k", power, streams))
    for mbps in (2.5, 5.0):
        ladder = {"outputs": [{"resolution": size, "fps": fps} for size, fps in _LADDER], "resolution": "1920x1080"}
        known = _scenario(source, f"Ladder @ {1000 * mbps:g}k", f"{1000 * mbps:g}k", watts(3, mbps), 2)
        scenarios.append({**known, **ladder})
    for place, scenario in enumerate(scenarios):  # one after the other, half a minute apart
        scenario["start_time"] = begin + place * 150
        scenario["end_time"] = scenario["start_time"] + scenario["duration"]
    return {"test_date": datetime.fromtimestamp(begin, UTC).isoformat(), "scenarios": scenarios}


def _scenario(source: random.Random, name: str, bitrate: str, power: float, cores: float) -> dict[str, Any]:
    """Return a scenario whose samples flicker around `power` [W] by 3 %, neighbours alike, and lie 1 % off as a whole."""
    level, off = power * source.gauss(1, 0.01), 0.0
    samples = []
    for _ in range(_SAMPLES):
        off = 0.6 * off + 0.8 * source.gauss(0, 0.03)
        samples.append(round(level * (1 + max(-0.2, min(0.2, off))), 3))
    usage = [round(0.1 + 0.3 * cores * source.uniform(0.9, 1.1), 3) for _ in range(_SAMPLES)]
    return {
        **{"name": name, "bitrate": bitrate, "resolution": "1280x720", "fps": 30, "encoder": "h264"},
        **{"encoder_type": "cpu", "preset": "veryfast", "duration": _STEP * (_SAMPLES - 1), "outputs": None},
        **{"power_watts": samples, "cpu_usage_cores": usage, "step_seconds": _STEP},
    }
