"""``fleetml recommend when``: the hour, the region and the instance that cost or emit least before a deadline."""

from __future__ import annotations

import argparse
import time

from fleetml import secrets
from fleetml.cli.output import complain, say, say_table
from fleetml.cost import offers
from fleetml.cost.ahead import expect
from fleetml.cost.schedule import Offer, Plan, plans, wait
from fleetml.cost.series import GRAMS, HOUR, Quantity, Series, told
from fleetml.cost.tariffs import Tariffs
from fleetml.errors import ConfigurationError, InvalidParameter
from fleetml.records.usual import usual
from fleetml.settings import Settings


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Print the plans, the best first, and who says so; with --wait print where, as the best begins."""
    wanted, deadline = _offers(args, settings), time.time() + args.within * HOUR
    unit = settings.cost.currency if args.prefer == "cheapest" else "g CO2"
    if args.wait:
        ask = lambda now: _plans(args, settings, wanted, now, deadline)[0][0]  # noqa: E731
        say(wait(ask, lambda plan: complain(_line(plan, unit))).offer.name)
        return 0
    found, series = _plans(args, settings, wanted, now := time.time(), deadline)
    head = ("WHERE", "BEGINS", "ENDS", "EXPECTED", "AT ONCE", "SAVED")
    say_table(head, [_row(plan, unit) for plan in found])
    for known in series:
        say(_source(known, now))
    return 0


def _plans(
    args: argparse.Namespace, settings: Settings, wanted: list[Offer], now: float, deadline: float
) -> tuple[list[Plan], list[Series]]:
    money = args.prefer == "cheapest"
    series = {region: _series(region, money, settings) for region in dict.fromkeys(each.region for each in wanted)}
    # All hours that a source names are known, those ahead too: a file may hold tomorrow's auction, or somebody's forecast.
    expected = {region: expect(found, max(found.values, default=0) + HOUR) for region, found in series.items()}
    found = plans(wanted, now, deadline, expected, money=money, interruptible=args.in_parts)
    return found, list(series.values())


def _line(plan: Plan, unit: str) -> str:
    return f"{plan.offer.name}: {told(plan.begins)} is best, {plan.amount:.6g} {unit} expected"


def _offers(args: argparse.Namespace, settings: Settings) -> list[Offer]:
    """Return where the run may go. Raises InvalidParameter for what does not belong together, ConfigurationError."""
    named = [name for name in ("pipeline", "hours", "kwh", "regions") if getattr(args, name) is not None]
    if args.offers:
        if named:
            raise InvalidParameter(f"--offers says where and how long, got {named[0]} beside it; leave one of them out")
        return offers.read(args.offers, settings.cost.currency)
    if args.pipeline and args.hours is None and args.kwh is None:
        taken = usual(settings.home, args.pipeline)
        seconds, longest, kwh = taken.seconds, taken.longest, taken.kwh
    elif args.pipeline is None and args.hours is not None and args.kwh is not None:
        seconds, longest, kwh = args.hours * HOUR, 0.0, args.kwh
    else:
        raise InvalidParameter(
            f"what a run takes is told by a PIPELINE, by --hours and --kwh, or by --offers, got {', '.join(named) or 'none'}; give one of these"
        )
    regions = [name.strip() for name in (args.regions or settings.cost.region).split(",")]
    return [Offer(region, seconds, kwh, longest=longest, currency=settings.cost.currency) for region in regions]


def _series(region: str, money: bool, settings: Settings) -> Series:
    """Return what is known of a region's price or intensity, of the source that is asked first. Raises ConfigurationError."""

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
    once = "-" if plan.at_once is None else f"{plan.at_once:.6g} {unit}"
    saved = "-" if plan.at_once is None else f"{plan.at_once - plan.amount:.6g} {unit}"
    if plan.at_once and plan.at_once > 0:
        saved += f" ({1 - plan.amount / plan.at_once:.0%})"
    begins, ends = (", ".join(told(span[end]) for span in plan.spans) for end in (0, 1))
    return plan.offer.name, begins, ends, f"{plan.amount:.6g} {unit}", once, saved


def _source(series: Series, now: float) -> str:
    """Say who tells the values, and how far."""
    about = f"{series.quantity} of {series.region}: {series.source}"
    if not series.values:
        return f"{about}, one value for all hours, so there is nothing to wait for"
    end = max(series.values) + HOUR
    ahead = "a forecast of those from there on" if end > now else "all of them past, so what is ahead is a forecast"
    return f"{about}, by hour up to {told(end)}; {ahead}"
