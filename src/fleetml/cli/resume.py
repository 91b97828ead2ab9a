"""``fleetml resume RUN``: keep what a run finished, do the rest."""

from __future__ import annotations

import argparse
import os

from fleetml.settings import Settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which run."""
    parser.add_argument("run", help="a run id; `fleetml status` lists them")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="steps at once (default: cores)")


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Go on with the run, on this machine; its parameters and its IR are those of its record."""
    from fleetml.cli.run import _say, execute
    from fleetml.engines.local import Job
    from fleetml.engines.local.engine import finished
    from fleetml.pipeline import load
    from fleetml.records import Run

    records = Run(settings.home, args.run)
    document = records.read()
    plan = load(records.pipeline)
    kept = finished(records, plan)
    _say(f"keeping {len(kept)} finished steps of {len(plan.steps)}")
    return execute(Job(plan, records.pipeline, document["parameters"], args.run, kept, args.workers), settings)
