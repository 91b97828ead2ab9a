"""``fleetml ls``: the runs of this project."""

from __future__ import annotations

import argparse

from fleetml.cli.count import at_least
from fleetml.settings import Settings

STATES = ("running", "died", "succeeded", "failed", "cancelled")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which runs."""
    parser.add_argument(
        "--state", choices=STATES, help="only these; died: the record says running, its process is gone"
    )
    parser.add_argument("--pipeline", metavar="NAME", help="only runs of this pipeline")
    parser.add_argument("--limit", type=at_least(1), metavar="N", help="only the latest N of them")


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Print a line per run, the latest first: its id, state, engine, pipeline, start, and how long it took."""
    from fleetml.cli.output import say
    from fleetml.cli.status import line
    from fleetml.records import Run, runs

    shown = 0
    for document in runs(settings.home):
        if shown == args.limit:
            break
        if args.pipeline and document["pipeline"] != args.pipeline:
            continue
        state = Run(settings.home, document["run_id"]).state()
        if not args.state or state == args.state:
            say(line(document, state))
            shown += 1
    return 0
