"""``fleetml costs [RUN]``: CPU and GPU time, memory, energy, money and CO2 of runs, pipelines, and the steps of a run.

A step's figures are of all its attempts, and of the installation of its packages where it was the one that needed it; a run's
are of all its steps so far.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Mapping
from typing import Any

from fleetml.cli.age import age
from fleetml.settings import Settings

Costs = Mapping[str, Any]
Rows = Mapping[str, list[Costs]]
"""What a row is the sum of: currencies are not added, so a row keeps its parts."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which runs, and how they are told."""
    parser.add_argument("run", nargs="?", help="a run id: its steps; without: every run, the latest first")
    parser.add_argument("--pipeline", metavar="NAME", help="only runs of this pipeline")
    parser.add_argument("--since", type=age, metavar="AGE", help="only runs that began since then: 12h, 30d, 8w")
    parser.add_argument("--by", choices=("run", "pipeline"), default="run", help="a line for each (default: run)")
    parser.add_argument("--json", action="store_true", help="as JSON: rows, their total, and its money by currency")


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Print a line per run, pipeline or step, and their sum; of memory the highest peak. Raises ConfigurationError."""
    chosen = [args.pipeline is not None, args.since is not None, args.by != "run"]
    if args.run is not None and any(chosen):
        from fleetml.errors import InvalidParameter

        raise InvalidParameter("--pipeline, --since and --by choose among runs, a run was named as well; leave out one")
    rows = _steps(args.run, settings) if args.run is not None else _runs(args, settings)
    if args.json:
        _say_json(rows)
    else:
        _say_table("STEP" if args.run is not None else args.by.upper(), rows)
    return 0


def _steps(run_id: str, settings: Settings) -> dict[str, list[Costs]]:
    from fleetml.records import Run

    records = Run(settings.home, run_id)
    return {
        step: [attempt.cost for attempt in records.attempts(step) if attempt.cost] for step in records.read()["steps"]
    }


def _runs(args: argparse.Namespace, settings: Settings) -> dict[str, list[Costs]]:
    parts: dict[str, list[Costs]] = {}
    for document in _chosen(args, settings):
        row = parts.setdefault(document["run_id" if args.by == "run" else "pipeline"], [])
        row += [document["cost"]] if _summed(document) else _all(_steps(document["run_id"], settings))
    return parts


def _summed(document: Mapping[str, Any]) -> bool:
    """Say whether the sum in a run's record is of all of it: that of one which goes on is of before."""
    return bool(document.get("cost")) and document["state"] != "running"


def _all(rows: Rows) -> list[Costs]:
    return [cost for costs in rows.values() for cost in costs]


def _chosen(args: argparse.Namespace, settings: Settings) -> Iterator[dict[str, Any]]:
    from fleetml.records import runs

    for document in runs(settings.home):
        recent = args.since is None or document.get("started", 0) >= time.time() - args.since
        if recent and args.pipeline in (None, document["pipeline"]):
            yield document


def _say_table(what: str, rows: Rows) -> None:
    from fleetml.cli.output import complain, say_table
    from fleetml.cost.estimate import moneys, read, total

    all = total(_all(rows))
    lines = [(name, *_cells(total(costs)), _money(moneys(costs))) for name, costs in rows.items()]
    lines.append(("total", *_cells(all), _money(moneys(_all(rows)))))
    say_table((what, "CPU s", "GPU s", "PEAK", "Wh", "g CO2", "ENERGY BY", "MONEY"), lines)
    cost = read(all)
    if cost.region:
        complain(
            f"region {cost.region}; price by {cost.price_source or '-'}, carbon intensity by {cost.intensity_source or '-'}"
        )
    elif not rows:
        complain("no run is among them; `fleetml ls` lists all")


def _cells(recorded: Costs) -> tuple[str, ...]:
    from fleetml.cost.estimate import read, small
    from fleetml.report import text

    cost = read(recorded)
    grams = "-" if cost.co2_grams is None else small(cost.co2_grams)
    times = (f"{cost.cpu_seconds:.1f}", f"{cost.gpu_seconds:.1f}" if cost.gpu_seconds else "")
    return (*times, text.size(cost.max_rss_bytes), small(cost.kwh * 1000), grams, cost.source)


def _money(amounts: Mapping[str, float | None]) -> str:
    """Return sums by currency, which are not added."""
    shown = [f"{'-' if amount is None else f'{amount:.6f}'} {currency}" for currency, amount in amounts.items()]
    return " + ".join(shown) or "0"


def _say_json(rows: Rows) -> None:
    import json

    from fleetml.cli.output import say
    from fleetml.cost.estimate import moneys, total

    all, each = _all(rows), {name: total(costs) for name, costs in rows.items()}
    say(json.dumps({"rows": each, "total": total(all), "moneys": moneys(all)}, ensure_ascii=False))
