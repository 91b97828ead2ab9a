"""``fleetml resume RUN``: keep what a run finished, do the rest."""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import TYPE_CHECKING

from fleetml.settings import Settings

if TYPE_CHECKING:
    from fleetml.engines.local import Kept


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which run."""
    from fleetml.cli.run import add_execution

    parser.add_argument("run", help="a run id; `fleetml ls` lists them")
    parser.add_argument("--recheck", action="store_true", help="run finished steps again whose code or inputs changed")
    parser.add_argument(
        "--no-budget", action="store_true", help="whatever it costs, the budget of its triggers.yaml is not looked at"
    )
    add_execution(parser)


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Go on with the run, on this machine; its parameters and its IR are those of its record.

    Raises ConfigurationError for a run that goes on in the stack's Airflow.
    """
    from fleetml.cli.output import say
    from fleetml.cli.run import execute
    from fleetml.cost.budget import Budget
    from fleetml.engines.local import Job, finished
    from fleetml.errors import ConfigurationError
    from fleetml.pipeline import load
    from fleetml.records import Run
    from fleetml.stack import runs, state

    records = Run(settings.home, args.run)
    document = records.read()
    if runs.running(document, state.read(settings.home)):
        raise ConfigurationError(
            f"a run is run by one engine, Airflow runs {args.run}; wait for it, or mark it failed there"
        )
    settings = replace(settings, runner=args.runner or document.get("runner") or settings.runner)
    plan = load(records.pipeline, settings.home / "ir")
    kept = finished(records, plan, settings, args.recheck)
    if document["state"] == "succeeded" and kept.outcomes.keys() >= set(document["steps"]):
        say(f"run {args.run} succeeded, and all it made is there: nothing to do")
        return 0
    _say_kept(kept, len(document["steps"]))
    job = Job(
        plan,
        records.pipeline,
        document["parameters"],
        args.run,
        kept.outcomes,
        args.workers,
        caching=document.get("caching", True),
        retries=document.get("retries", 0),
        resumed=True,
        budget=None if args.no_budget else Budget.recorded(document.get("budget")),
    )
    return execute(job, settings)


def _say_kept(kept: Kept, steps: int) -> None:
    from fleetml.cli.output import say

    say(f"keeping {len(kept.outcomes)} finished steps of {steps}")
    for step, why in kept.stale.items():
        say(f"  stale: {step} ({why} changed since); kept, --recheck runs it again")
    for step in kept.damaged:
        say(f"  damaged: {step}; its result is gone or changed, it runs again")
