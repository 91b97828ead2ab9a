"""``fleetml promote``: serve a version alone, at once."""

from __future__ import annotations

import argparse

from fleetml.cli import serving
from fleetml.errors import StepFailed
from fleetml.settings import Settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which version."""
    serving.add_model(parser)
    parser.add_argument("version", metavar="VERSION", nargs="?", default="", help="default: that of its rollout")
    serving.add_shorter_horizon(parser)


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Promote it; back to what was served where the server refuses it. Raises InvalidParameter, StepFailed."""
    from fleetml.serving.rollout import actions

    place = serving.place(settings, args.shorter_horizon)
    serving.say_done(actions.promote(place, args.model, args.version, args.reason))
    try:
        serving.say_served(settings, args.model)
    except StepFailed as error:
        serving.say_done(actions.roll_back(place, args.model, str(error)))
        raise
    return 0
