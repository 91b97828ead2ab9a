"""``fleetml stop RUN``: end a run and all its steps."""

from __future__ import annotations

import argparse

from fleetml.settings import Settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which run."""
    parser.add_argument("run", help="a run id; `fleetml ls` lists them")


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Stop it and return 0 when nothing of it runs any more; also for a run that is over already.

    Raises ConfigurationError when there is no such run, Unavailable for one that cannot be stopped from here.
    """
    from fleetml.cli.output import say
    from fleetml.engines.local.stop import end_strays, stop
    from fleetml.records import Run

    records = Run(settings.home, args.run)
    document, state = records.read(), records.state()
    again = f"go on with: fleetml resume {args.run}"
    if state == "died":
        end_strays()
        say(f"run {args.run} is not running: its process died; {again}")
    elif state != "running":
        say(f"run {args.run} is over: {state}")
    elif document["engine"] == "airflow":
        from fleetml.stack import runs
        from fleetml.stack import state as stack

        say(f"run {args.run}: {runs.stop(records, stack.read(settings.home))}")
    else:
        state = stop(records)
        say(f"run {args.run}: {state}")
        if state == "cancelled":
            say(again)
    return 0
