"""``fleetml observe MODEL SOURCE``: what became true, for the forecasts of a model to be judged by."""

from __future__ import annotations

import argparse

from fleetml.settings import Settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Of which model, from where."""
    parser.add_argument("model", help="name of a served model, that of its target")
    parser.add_argument("source", help="VM metrics: file, folder or URL, as `fleetml train --data` takes them")
    parser.add_argument("-p", "--parameter", action="append", default=[], metavar="NAME=VALUE", help="of dags/observe")


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Run the pipeline observe on this machine; return its exit status.

    Raises InvalidParameter, before the source is read, for a model that forecasts no target, and for a source that is not there.
    """
    from fleetml.cli.run import execute
    from fleetml.cli.train import existing
    from fleetml.cli.watch import job
    from fleetml.data.schema import target_columns

    target_columns(args.model, "MODEL")
    source = existing(args.source, "SOURCE")
    given = [f"model_name={args.model}", f"source={source}", *args.parameter]
    return execute(job(settings, "observe", given), settings)
