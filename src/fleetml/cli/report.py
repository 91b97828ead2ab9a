"""``fleetml report RUN``: write a run's HTML report anew and say where it is."""

from __future__ import annotations

import argparse

from fleetml.settings import Settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which run."""
    parser.add_argument("run", nargs="?", help="id of the run; default: the latest")


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Write the report. Raises ConfigurationError for an unknown run."""
    from fleetml.errors import ConfigurationError
    from fleetml.records import Run, runs
    from fleetml.report import page

    latest = next(runs(settings.home), None)
    if not args.run and latest is None:
        raise ConfigurationError(f"a report needs a run, {settings.home / 'runs'} holds none; start one: fleetml train")
    wanted = args.run or str((latest or {}).get("run_id"))
    print(page.write(Run(settings.home, wanted)))  # noqa: T201 - a path, for other programs too
    return 0
