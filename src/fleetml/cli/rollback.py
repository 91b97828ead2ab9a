"""``fleetml rollback``: end a model's rollout; where it has none, serve its previous version again."""

from __future__ import annotations

import argparse

from fleetml.cli import serving
from fleetml.settings import Settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which model."""
    serving.add_model(parser)


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Go back and say what answers. Raises InvalidParameter where there is nothing to go back to, StepFailed."""
    from fleetml.serving.rollout import actions

    serving.say_done(actions.roll_back(serving.place(settings), args.model, args.reason))
    serving.say_served(settings, args.model)
    return 0
