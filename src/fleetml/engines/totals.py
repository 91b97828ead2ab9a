"""Sums of runs and steps since ever, kept beside the records and told in Prometheus' text format.

They are kept, and not made of the records each time, because a counter must never fall: `fleetml gc` removes records.
"""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fleetml import atomic, lockfile

# name -> (help, upper bounds of its buckets in seconds)
HISTOGRAMS: dict[str, tuple[str, tuple[float, ...]]] = {
    "fleetml_run_duration_seconds": (
        "From a run's beginning to its end",
        (1, 5, 15, 60, 300, 900, 1800, 3600, 7200, 14400),
    ),
    "fleetml_run_delay_seconds": ("From when a run was due to its beginning", (1, 5, 15, 60, 300, 900, 3600)),
    "fleetml_step_duration_seconds": (
        "Wall time of a step's attempt",
        (0.1, 0.5, 1, 5, 15, 60, 300, 900, 3600, 14400),
    ),
    "fleetml_step_queue_seconds": (
        "From when all that a step waits for was over to its first attempt",
        (0.1, 0.5, 1, 5, 15, 60, 300, 900),
    ),
}
COUNTERS = {
    "fleetml_runs_total": "Runs that ended, by state; died: their process did",
    "fleetml_step_attempts_total": "Attempts of steps, by state; cached: an earlier result was reused",
    "fleetml_step_cpu_seconds_total": "CPU seconds of steps, with what they started",
    "fleetml_step_gpu_seconds_total": "Seconds that steps kept GPUs busy",
    "fleetml_step_cost_usd_total": "Estimated cost of steps that are reckoned in US dollars",
    "fleetml_step_cost_total": "Estimated cost of steps, by currency",
    "fleetml_step_energy_kwh_total": "Energy of steps, measured or estimated, as source says",
    "fleetml_step_co2_grams_total": "Estimated CO2 of steps",
}
_LAST = ("fleetml_run_last_end_timestamp_seconds", "When a run last ended in this state")
_BUDGETS = ("fleetml_budget_spent_ratio", "Part of a budget that a pipeline's last run, or its month, has used")
_RUNNING = ("fleetml_runs_running", "Runs under way")


class Totals:
    """The sums; `running` are the ids of runs under way, with their labels."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        """Raises ValueError, LookupError, TypeError for what `to_json` did not make."""
        self._counters: dict[str, dict[str, float]] = {name: dict(document.get(name, {})) for name in COUNTERS}
        self._histograms: dict[str, dict[str, list[float]]] = {name: dict(document[name]) for name in HISTOGRAMS}
        self._budgets: dict[str, float] = dict(document.get("budgets", {}))
        self._last: dict[str, float] = dict(document["last"])
        self.running: dict[str, dict[str, str]] = dict(document["running"])

    @classmethod
    def empty(cls) -> Totals:
        return cls({name: {} for name in (*COUNTERS, *HISTOGRAMS, "last", "running")})

    def to_json(self) -> dict[str, Any]:
        return {
            **self._counters,
            **self._histograms,
            "budgets": self._budgets,
            "last": self._last,
            "running": self.running,
        }

    def count(self, name: str, labels: Mapping[str, str], amount: float = 1.0) -> None:
        """Add to a counter."""
        known, key = self._counters[name], _labels(labels)
        known[key] = known.get(key, 0.0) + amount

    def observe(self, name: str, labels: Mapping[str, str], value: float) -> None:
        """Add a value to a histogram: counts by bucket, the last of them beyond all bounds, then the sum."""
        bounds = HISTOGRAMS[name][1]
        entry = self._histograms[name].setdefault(_labels(labels), [0.0] * (len(bounds) + 2))
        entry[bisect_left(bounds, value)] += 1
        entry[-1] += value

    def ended(self, labels: Mapping[str, str], when: float) -> None:
        """Note when a run with these labels ended."""
        self._last[_labels(labels)] = when

    def spent(self, pipeline: str, shares: Mapping[tuple[str, str], float]) -> None:
        """Note which part of a budget is used, by period and quantity; limits that are none any more are forgotten."""
        about = {"pipeline": pipeline}
        others = {key: share for key, share in self._budgets.items() if not key.startswith(f"{_labels(about)},")}
        told = {
            _labels({**about, "period": period, "quantity": quantity}): share
            for (period, quantity), share in shares.items()
        }
        self._budgets = others | told

    def exposition(self) -> str:
        """Return all in Prometheus' text format."""
        lines: list[str] = []
        for name, text in COUNTERS.items():
            lines += _family(name, "counter", text, self._counters[name])
        lines += _family(_LAST[0], "gauge", _LAST[1], self._last)
        lines += _family(_BUDGETS[0], "gauge", _BUDGETS[1], self._budgets)
        under_way: dict[str, float] = {}
        for about in self.running.values():
            key = _labels(about)
            under_way[key] = under_way.get(key, 0.0) + 1
        lines += _family(_RUNNING[0], "gauge", _RUNNING[1], under_way)
        for name, (text, bounds) in HISTOGRAMS.items():
            lines += [f"# HELP {name} {text}", f"# TYPE {name} histogram"]
            for labels, entry in self._histograms[name].items():
                lines += _histogram(name, labels, bounds, entry)
        return "\n".join(lines) + "\n"


@contextmanager
def changing(folder: Path) -> Iterator[Totals]:
    """Yield the sums that `folder` keeps in ``runs.json``, write what became of them there and into ``runs.prom``.

    Who else would change them waits. A file that cannot be read counts as none: Prometheus takes that for a restart. Raises OSError.
    """
    folder.mkdir(parents=True, exist_ok=True)
    place = folder / "runs.json"
    with lockfile.held(folder / ".runs.lock"):
        try:
            totals = Totals(json.loads(place.read_text(encoding="utf-8")))
        except (FileNotFoundError, ValueError, LookupError, TypeError):
            totals = Totals.empty()
        yield totals
        atomic.write_json(place, totals.to_json())
        atomic.write_text(folder / "runs.prom", totals.exposition())


def _family(name: str, kind: str, text: str, values: Mapping[str, float]) -> Iterator[str]:
    yield f"# HELP {name} {text}"
    yield f"# TYPE {name} {kind}"
    for labels, value in values.items():
        yield f"{name}{{{labels}}} {value!r}"


def _histogram(name: str, labels: str, bounds: tuple[float, ...], entry: list[float]) -> Iterator[str]:
    below = 0.0
    for bound, count in zip((*bounds, "+Inf"), entry[:-1], strict=True):
        below += count
        yield f'{name}_bucket{{{labels},le="{bound}"}} {below!r}'
    yield f"{name}_count{{{labels}}} {below!r}"
    yield f"{name}_sum{{{labels}}} {entry[-1]!r}"


def _labels(labels: Mapping[str, str]) -> str:
    return ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items())


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
