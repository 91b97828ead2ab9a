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
    from fleetml.errors import ConfigurationError
    from fleetml.records import Run

    records = Run(settings.home, args.run)
    steps = records.read()["steps"]
    log = records.log(args.step, args.attempt) if args.step in steps else None
    if log is None:
        raise ConfigurationError(f"run {args.run} has no log of step {args.step!r}; its steps are {', '.join(steps)}")
    sys.stdout.write(log.read_text(encoding="utf-8", errors="replace"))
    return 0
