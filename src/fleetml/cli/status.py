"""``fleetml status [RUN]``: the runs of this project, or the steps of one."""

from __future__ import annotations

import argparse
import time
from typing import Any

from fleetml.settings import Settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which run, if any."""
    parser.add_argument("run", nargs="?", help="a run id; without: every run, the latest first")


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Print a line per run, or a line per step."""
    from fleetml.cli.run import _say
    from fleetml.records import Run, runs

    if args.run is None:
        for document in runs(settings.home):
            _say(_line(document))
        return 0
    records = Run(settings.home, args.run)
    document = records.read()
    _say(_line(document))
    latest = records.latest()
    for step in document["steps"]:
        attempt = latest.get(step)
        state = "pending" if attempt is None else "cached" if attempt.cached else attempt.state
        figures = ", ".join(f"{k} {v}" for k, v in (attempt.figures or {}).items()) if attempt else ""
        taken = f"{attempt.seconds:8.1f} s" if attempt else ""
        _say(f"  {step:<40} {state:<16}{taken}  {figures or (attempt.reason if attempt else '')}".rstrip())
    return 0


def _line(document: dict[str, Any]) -> str:
    started = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(document.get("started", 0)))
    return f"{document['run_id']}  {document['state']}  {document['engine']}  {document['pipeline']}  {started}"
