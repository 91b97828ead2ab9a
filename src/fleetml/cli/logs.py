"""``fleetml logs RUN STEP``: what a step printed."""

from __future__ import annotations

import argparse
import sys

from fleetml.settings import Settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which step of which run."""
    parser.add_argument("run", help="a run id")
    parser.add_argument("step", help="a step's name, as `fleetml status RUN` shows it")
    parser.add_argument("--attempt", type=int, help="default: the last one")


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Print the log. Raises ConfigurationError when there is none."""
    from fleetml.cli.output import complain
    from fleetml.errors import ConfigurationError
    from fleetml.records import Run

    records = Run(settings.home, args.run)
    steps = records.read()["steps"]
    if args.step not in steps:
        raise ConfigurationError(f"run {args.run} has no step '{args.step}'; its steps are {', '.join(steps)}")
    log = records.log(args.step, args.attempt)
    if log is None:
        which = f"attempt {args.attempt}" if args.attempt else "log yet"
        raise ConfigurationError(f"step '{args.step}' of run {args.run} has no {which}; see: fleetml status {args.run}")
    if not log.stat().st_size:
        complain(f"step '{args.step}' of run {args.run} printed nothing; its figures: fleetml status {args.run}")
    with log.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            sys.stdout.write(line)
    return 0
