"""``fleetml ls``: the runs of this project."""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterator
from typing import Any

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
    """Print a line per run, the latest first; where there is none, say so on standard error."""
    from fleetml.cli.output import complain, say_table
    from fleetml.cli.status import when

    found = list(itertools.islice(_chosen(args, settings), args.limit))
    rows = [(each["run_id"], state, each["engine"], each["pipeline"], *when(each)) for each, state in found]
    say_table(("RUN", "STATE", "ENGINE", "PIPELINE", "STARTED", "TOOK"), rows)
    if not rows:
        complain(_none(args, settings))
    return 0


def _chosen(args: argparse.Namespace, settings: Settings) -> Iterator[tuple[dict[str, Any], str]]:
    from fleetml.records import Run, runs

    for document in runs(settings.home):
        if args.pipeline in (None, document["pipeline"]):
            state = Run(settings.home, document["run_id"]).state()
            if args.state in (None, state):
                yield document, state


def _none(args: argparse.Namespace, settings: Settings) -> str:
    from fleetml.records import runs

    pipelines = sorted({document["pipeline"] for document in runs(settings.home)})
    if not pipelines:
        return f"no run in {settings.home / 'runs'} yet; start one: fleetml run PIPELINE"
    if args.pipeline and args.pipeline not in pipelines:
        return f"no run of pipeline '{args.pipeline}'; there are runs of {', '.join(pipelines)}"
    return f"no run{f' of {args.pipeline}' if args.pipeline else ''} has the state {args.state}"
