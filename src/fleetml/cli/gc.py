"""``fleetml gc``: remove what is old and needed by nobody."""

from __future__ import annotations

import argparse

from fleetml.cli.age import age
from fleetml.cli.count import at_least
from fleetml.errors import InvalidParameter
from fleetml.settings import Settings

LEAST_TRAFFIC = age("8d")
"""What the monitor looks back on is kept: seven days, and the one that is not over."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """How old, how many."""
    parser.add_argument(
        "--older-than", type=age, default=age("30d"), metavar="AGE", help="90s, 15m, 12h, 30d (the default) or 8w"
    )
    parser.add_argument(
        "--keep-last",
        type=at_least(0),
        default=1,
        metavar="N",
        help="runs of each pipeline that stay in any case (default: 1)",
    )
    parser.add_argument(
        "--shared",
        action="store_true",
        help="also of the artifact store that machines share (FLEETML_STORE): what runs of other machines need is unknown here",
    )
    parser.add_argument(
        "--traffic-older-than",
        type=age,
        metavar="AGE",
        help="also days of the prediction log and the truth, 8d at least (default: they stay); not of models with a rollout under way",
    )
    parser.add_argument("--dry-run", action="store_true", help="say what would be removed")


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Remove it and say what that freed. Raises Unavailable when the registry cannot be asked what it needs."""
    from fleetml.cli.output import say
    from fleetml.collect import collect, needed, totals
    from fleetml.report import text

    traffic = args.traffic_older_than
    if traffic is not None and traffic < LEAST_TRAFFIC:
        raise InvalidParameter(
            "--traffic-older-than must be 8d at least, for the monitor judges the last seven days, got "
            f"{traffic / 86400:g}d; give a longer one"
        )
    found = collect(settings, needed(settings), args.older_than, args.keep_last, args.dry_run, args.shared, traffic)
    if args.dry_run:
        for item in found.garbage:
            say(f"{item.kind:<18} {item.name}  {text.size(item.bytes)}")
    kinds = totals(found.garbage)
    what = [f"{number} {_plural(kind, number)} ({text.size(size)})" for kind, (number, size) in kinds.items()]
    say(f"{'would free' if args.dry_run else 'freed'} {text.size(sum(item.bytes for item in found.garbage))}")
    for line in what:
        say(f"  {line}")
    if found.kept_for_models:
        say(
            f"kept {found.kept_for_models} old {_plural('run', found.kept_for_models)} that registered models come from"
        )
    return 0


def _plural(noun: str, number: int) -> str:
    if number == 1:
        return noun
    return f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}{'es' if noun.endswith('h') else 's'}"
