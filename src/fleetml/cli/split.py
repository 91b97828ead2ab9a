"""``fleetml split``: have a version answer a fixed share of the VMs (an A/B test), until somebody ends it."""

from __future__ import annotations

import argparse

from fleetml.cli import serving
from fleetml.settings import Settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which version, how much of the traffic."""
    serving.add_model(parser)
    parser.add_argument("version", metavar="VERSION", help="a version in the serving folder: fleetml models MODEL")
    parser.add_argument("share", metavar="SHARE", type=_share, help="of the VMs: 0.1 or 10%%")
    serving.add_shorter_horizon(parser)


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Split the traffic. Raises InvalidParameter."""
    from fleetml.cli.output import say
    from fleetml.serving.rollout import actions

    place = serving.place(settings, args.shorter_horizon)
    done = actions.split(place, args.model, args.version, args.share, args.reason)
    serving.say_done(done)
    say(f"it goes on until: fleetml promote {args.model}, or fleetml rollback {args.model}")
    return 0


def _share(text: str) -> float:
    try:
        share = float(text[:-1]) / 100 if text.endswith("%") else float(text)
        if not 0 < share < 1:
            raise argparse.ArgumentTypeError(f"a share lies between 0 and 1, that is 0% and 100%, got {text}")
        return share
    except ValueError:
        raise argparse.ArgumentTypeError(f"a share is a number such as 0.1 or 10%, got {text!r}") from None
