"""``fleetml compile [PIPELINE…]``: the IR of pipelines written in the KFP DSL."""

from __future__ import annotations

import argparse
from pathlib import Path

from fleetml.settings import Settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which pipelines."""
    parser.add_argument("pipelines", nargs="*", help="pipeline.py files or their folders; default: every one in dags/")
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a committed IR differs")


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Compile; with --check return 1 if an IR is not what its pipeline.py compiles to."""
    from fleetml.cli.output import say
    from fleetml.compiler import compile_pipeline

    given = [Path(place) for place in args.pipelines] or sorted((settings.project / "dags").glob("*/pipeline.py"))
    stale = False
    for place in given:
        source = place / "pipeline.py" if place.is_dir() else place
        target, changed = compile_pipeline(source, check=args.check)
        stale |= changed
        news = "differs from its pipeline.py; run: make compile" if args.check else "written"
        say(f"{target}: {news if changed else 'unchanged'}")
    return int(stale and args.check)
