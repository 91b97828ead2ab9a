"""``fleetml federation keys|link|node``: the processes of federated rounds over real regions, in the learning environment."""

from __future__ import annotations

import argparse
import os

from fleetml.settings import Settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Those of the command of the stage, which knows them."""
    parser.add_argument("command", choices=("keys", "link", "node"), help="make keys, serve regions, take part for one")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, metavar="…", help="what it takes: … --help tells")


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Become the command: it ends when it is told to, and says itself how."""
    from fleetml.images import Images

    image = Images(settings.project).resolve("fleetml/ml")
    command = [str(image.python), "-m", "components.federated", args.command, *args.arguments]
    os.execve(command[0], command, {**os.environ, "PYTHONPATH": str(settings.project)})  # noqa: S606 - itself, elsewhere
