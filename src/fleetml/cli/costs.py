"""``fleetml costs [RUN]``: CPU time, energy, money and CO2 of runs and their steps."""

from __future__ import annotations

import argparse
from collections.abc import Mapping

from fleetml.settings import Settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which run, if any."""
    parser.add_argument("run", nargs="?", help="a run id; without: the sum of every run")


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Print a line per run or step."""
    from fleetml.cli.run import _say
    from fleetml.records import Run, runs

    if args.run is None:
        rows = [(document["run_id"], document.get("cost") or {}) for document in runs(settings.home)]
    else:
        latest = Run(settings.home, args.run).latest()
        rows = [(step, {} if attempt.cached else attempt.cost or {}) for step, attempt in latest.items()]
    for name, cost in rows:
        _say(f"{name:<52} {_line(cost)}")
    return 0


def _line(cost: Mapping[str, float]) -> str:
    seconds, kwh, usd, grams = (cost.get(name, 0.0) for name in ("cpu_seconds", "kwh", "usd", "co2_grams"))
    return f"{seconds:9.1f} CPU s  {kwh * 1000:8.3f} Wh  {usd:9.6f} USD  {grams:8.3f} g CO2"
