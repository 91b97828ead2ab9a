"""``fleetml recommend when | best | compare``: when and where a run should go, which measured scenario delivers most for its energy."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from fleetml.cli.count import at_least
from fleetml.settings import Settings

if TYPE_CHECKING:
    from fleetml.cost.scenarios import Scenario
    from fleetml.cost.schedule import Offer, Plan
    from fleetml.cost.series import Quantity, Series


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
    when.add_argument("--in-parts", action="store_true", help="it may be interrupted at any time")
    for name, line in (
        ("best", "rank measured scenarios by ladder"),
        ("compare", "say how surely two scenarios differ"),
    ):
        parser = what.add_parser(name, help=line)
        parser.add_argument(
            "files", nargs="+", type=Path, metavar="FILE", help="results files; of one name the last counts"
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
    return {"when": _when, "best": _best, "compare": _compare}[args.action](args, settings)


def _amount(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"must be a number above 0, got {text!r}")
    return value


def _when(args: argparse.Namespace, settings: Settings) -> int:
    import time

    from fleetml.cli.output import say, say_table
    from fleetml.cost.ahead import expect
    from fleetml.cost.schedule import plans
    from fleetml.cost.series import HOUR

    now, money = time.time(), args.prefer == "cheapest"
    offers = _offers(args, settings)
    series = {region: _series(region, money, settings) for region in dict.fromkeys(each.region for each in offers)}
    # All hours that a source names are known, those ahead too: a file may hold tomorrow's auction, or somebody's forecast.
    expected = {region: expect(found, max(found.values, default=0) + HOUR) for region, found in series.items()}
    found = plans(offers, now, now + args.within * HOUR, expected, money=money, interruptible=args.in_parts)
    unit = settings.cost.currency if money else "g CO2"
    head = ("WHERE", "BEGINS", "ENDS", "EXPECTED", "AT ONCE", "SAVED")
    say_table(head, [_row(plan, unit) for plan in found])
    for known in series.values():
        say(_source(known, now))
    return 0


def _offers(args: argparse.Namespace, settings: Settings) -> list[Offer]:
    """Return where the run may go. Raises InvalidParameter for what does not belong together, ConfigurationError."""
    from fleetml.cost import offers
    from fleetml.cost.schedule import Offer
    from fleetml.cost.series import HOUR
    from fleetml.errors import InvalidParameter
    from fleetml.records.usual import usual

    told = [name for name in ("pipeline", "hours", "kwh", "regions") if getattr(args, name) is not None]
    if args.offers:
        if told:
            raise InvalidParameter(f"--offers says where and how long, got {told[0]} beside it; leave one of them out")
        return offers.read(args.offers, settings.cost.currency)
    if args.pipeline and args.hours is None and args.kwh is None:
        taken = usual(settings.home, args.pipeline)
        seconds, longest, kwh = taken.seconds, taken.longest, taken.kwh
    elif args.pipeline is None and args.hours is not None and args.kwh is not None:
        seconds, longest, kwh = args.hours * HOUR, 0.0, args.kwh
    else:
        raise InvalidParameter(
            f"what a run takes is told by a PIPELINE, by --hours and --kwh, or by --offers, got {', '.join(told) or 'none'}; give one of these"
        )
    regions = [name.strip() for name in (args.regions or settings.cost.region).split(",")]
    return [Offer(region, seconds, kwh, longest=longest, currency=settings.cost.currency) for region in regions]


def _series(region: str, money: bool, settings: Settings) -> Series:
    """Return what is known of a region's price or intensity, of the source that is asked first. Raises ConfigurationError."""
    import time

    from fleetml import secrets
    from fleetml.cli.output import complain
    from fleetml.cost.series import GRAMS, Series
    from fleetml.cost.tariffs import Tariffs
    from fleetml.errors import ConfigurationError

    def token(name: str) -> str:
        return secrets.from_environment(name, ["token"]).get("token", "")

    cost = settings.cost
    quantity: Quantity = "price" if money else "intensity"
    tariffs = Tariffs(cost, settings.home, token, complain, region)
    tariffs.over(time.time(), time.time())  # waits for the APIs
    fixed = cost.rates.price_per_kwh if money else cost.rates.grams_per_kwh
    if fixed is not None:
        return Series(region, quantity, f"{cost.currency}/kWh" if money else GRAMS, "settings", otherwise=fixed)
    for found in tariffs.series(quantity):
        if found.currency in ("", cost.currency):
            return found
    raise ConfigurationError(
        f"a plan needs the {quantity} of {region}{f' in {cost.currency}' if money else ''}, no source tells it; add it to FLEETML_COST_FILE"
    )


def _row(plan: Plan, unit: str) -> tuple[str, ...]:
    from fleetml.cost.series import told

    once = "-" if plan.at_once is None else f"{plan.at_once:.6g} {unit}"
    saved = "-" if plan.at_once is None else f"{plan.at_once - plan.amount:.6g} {unit}"
    if plan.at_once and plan.at_once > 0:
        saved += f" ({1 - plan.amount / plan.at_once:.0%})"
    begins, ends = (", ".join(told(span[end]) for span in plan.spans) for end in (0, 1))
    return plan.offer.name, begins, ends, f"{plan.amount:.6g} {unit}", once, saved


def _source(series: Series, now: float) -> str:
    """Say who tells the values, and how far."""
    from fleetml.cost.series import HOUR, told

    about = f"{series.quantity} of {series.region}: {series.source}"
    if not series.values:
        return f"{about}, one value for all hours, so there is nothing to wait for"
    end = max(series.values) + HOUR
    ahead = "a forecast of those from there on" if end > now else "all of them past, so what is ahead is a forecast"
    return f"{about}, by hour up to {told(end)}; {ahead}"


def _best(args: argparse.Namespace, settings: Settings) -> int:
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


def _compare(args: argparse.Namespace, settings: Settings) -> int:
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
    """Return the scenarios of results files; what is wrong with them is told. Raises InvalidData."""
    from fleetml.cli.output import complain
    from fleetml.cost.scenarios import read

    known = {}
    for path in files:
        results = read(path)
        for remark in results.remarks:
            complain(remark)
        known.update({each.name: each for each in results.scenarios})
    return list(known.values())
