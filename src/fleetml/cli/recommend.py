"""``fleetml recommend when | best | compare``: when and where a run should go, which measured scenario delivers most for its energy."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from fleetml.cli.count import at_least
from fleetml.settings import Settings

if TYPE_CHECKING:
    from fleetml.cost.scenarios import Scenario


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The three of them."""
    what = parser.add_subparsers(dest="action", required=True, metavar="when | best | compare")
    when = what.add_parser("when", help="the hour and the region that cost or emit least before a deadline")
    when.add_argument(
        "pipeline", nargs="?", help="what its runs took is what the next one takes; else --hours and --kwh"
    )
    when.add_argument("--within", type=_amount, required=True, metavar="HOURS", help="it must be over by then")
    when.add_argument("--prefer", choices=("cheapest", "greenest"), default="cheapest", help="default: cheapest")
    when.add_argument("--regions", metavar="A,B", help="where it may run; default: FLEETML_COST_REGION")
    when.add_argument("--hours", type=_amount, help="how long it takes")
    when.add_argument("--kwh", type=_amount, help="the energy it needs")
    when.add_argument("--offers", type=Path, metavar="CSV", help="regions and instances, and what it takes on each")
    how = when.add_mutually_exclusive_group()
    how.add_argument("--in-parts", action="store_true", help="it may be interrupted at any time")
    how.add_argument("--wait", action="store_true", help="return when the best hour begins, asking again each hour")
    for name, line in (
        ("best", "rank measured scenarios by ladder"),
        ("compare", "say how surely two scenarios differ"),
    ):
        parser = what.add_parser(name, help=line)
        parser.add_argument(
            "files", nargs="+", type=Path, metavar="FILE", help="results files; of one name the latest measured counts"
        )
        parser.add_argument("--rule", default="auto", help="how to score; default: auto")
        if name == "best":
            parser.add_argument(
                "--top", type=at_least(1), default=0, metavar="N", help="only the best N of each ladder"
            )
        else:
            parser.add_argument("--scenarios", nargs=2, required=True, metavar=("ONE", "OTHER"), help="their names")


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Print it. Raises InvalidParameter, InvalidData, ConfigurationError."""
    if args.action == "when":
        from fleetml.cli import when

        return when.run(args, settings)
    return _best(args) if args.action == "best" else _compare(args)


def _amount(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"must be a number above 0, got {text!r}")
    return value


def _best(args: argparse.Namespace) -> int:
    from fleetml.cli.output import complain, say, say_table
    from fleetml.cost import recommend, scores

    ladders = recommend.top(_scenarios(args.files), args.rule, args.top)
    for ladder in ladders:
        say(f"{ladder.name} by {ladder.rule}")
        rows = [
            (str(rank), each.name, f"{value:.4g} {scores.UNITS[ladder.rule]}")
            for rank, (each, value) in enumerate(ladder.scored, 1)
        ]
        say_table(("RANK", "SCENARIO", "SCORE"), rows)
    if not ladders:
        complain("no scenario has power, an output ladder and what its score needs")
    return 0


def _compare(args: argparse.Namespace) -> int:
    from fleetml.cli.output import say
    from fleetml.cost import recommend, scores

    one, other = args.scenarios
    found = recommend.compare(_scenarios(args.files), one, other, args.rule)
    unit = scores.UNITS[found.rule]
    say(f"{found.ladder} by {found.rule}: {one} {found.one:.4g}, {other} {found.other:.4g} {unit}")
    if found.low is None or found.high is None:
        say(f"difference {found.difference:.3g} {unit}; too few samples of power to say how sure")
    else:
        sure = "they differ" if found.differs else "they may be the same"
        say(f"difference {found.difference:.3g} {unit}, 95 % interval {found.low:.3g} to {found.high:.3g}: {sure}")
    return 0


def _scenarios(files: list[Path]) -> list[Scenario]:
    """Return the scenarios of results files, of one name the latest measured; what is wrong with them is told. Raises InvalidData."""
    from fleetml.cli.output import complain
    from fleetml.cost.results_files import read

    found = [read(path) for path in files]
    for results in found:
        for remark in results.remarks:
            complain(remark)
    found.sort(key=lambda each: (each.when, each.run_id))
    return list({each.name: each for results in found for each in results.scenarios}.values())
