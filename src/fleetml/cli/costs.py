"""``fleetml costs [RUN]``: CPU time, energy, money and CO2 of runs and their steps.

A step's figures are of all its attempts, and of the installation of its packages where it was the one that needed it.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping

from fleetml.settings import Settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which run, if any."""
    parser.add_argument("run", nargs="?", help="a run id; without: every run, the latest first")


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Print a line per run or step, and their sum; of memory the highest peak."""
    from fleetml.cli.output import say
    from fleetml.cost.estimate import total
    from fleetml.records import Run, runs

    if args.run is None:
        rows = {document["run_id"]: document.get("cost") or {} for document in runs(settings.home)}
    else:
        records = Run(settings.home, args.run)
        rows = {
            step: total(attempt.cost for attempt in records.attempts(step) if attempt.cost)
            for step in records.read()["steps"]
        }
    width = max(map(len, (*rows, "total")))
    for name, cost in {**rows, "total": total(rows.values())}.items():
        say(f"{name:<{width}} {_line(cost)}")
    return 0


def _line(cost: Mapping[str, float]) -> str:
    seconds, kwh, usd, grams = (cost.get(name, 0.0) for name in ("cpu_seconds", "kwh", "usd", "co2_grams"))
    memory = cost.get("max_rss_bytes", 0) / 1e6
    return f"{seconds:9.1f} CPU s {memory:8.0f} MB peak {kwh * 1000:9.3f} Wh {usd:10.6f} USD {grams:9.3f} g CO2"
