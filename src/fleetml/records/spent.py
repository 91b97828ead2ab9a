"""What a run cost so far, and with it all runs of its pipeline that began, or went on, in the same month (UTC)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from fleetml.cost.budget import Budget, Limits, month_of
from fleetml.cost.estimate import Cost, read
from fleetml.records.run import Run, runs

_UNSURE = ("money", "co2_grams")  # what may be known of a part of a run alone


def spent(run: Run, budget: Budget) -> tuple[Cost, Cost]:
    """Return money (of the budget's currency), energy and CO2 of a run and of its month, of each what is known: at least so much.

    Of runs under way it is that of the attempts that are over. Where the budget leaves the month free the others are not looked at.
    Raises OSError, ConfigurationError.
    """
    document = run.read()
    own = [read(cost) for cost in _so_far(run, document)]
    others = () if budget.month == Limits() else _others(run, document)
    return _known(own, budget.currency), _known([*own, *map(read, others)], budget.currency)


def _known(costs: Iterable[Cost], currency: str) -> Cost:
    """Return the sum of what is known, None where that is of no part: one without a price must not lift a limit for a month."""
    found = list(costs)
    moneys = [cost.money if cost.currency in (currency, "") else None for cost in found]  # "": it cost nothing
    return Cost(
        kwh=sum(cost.kwh for cost in found),
        money=_sum(moneys),
        co2_grams=_sum([cost.co2_grams for cost in found]),
        currency=currency,
    )


def _sum(parts: list[float | None]) -> float | None:
    known = [part for part in parts if part is not None]
    return sum(known) if known or not parts else None


def _others(run: Run, document: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    home, since = run.folder.parents[1], month_of(_begun(document))
    for each in runs(home):
        if each["pipeline"] == document["pipeline"] and each["run_id"] != run.run_id and _begun(each) >= since:
            yield from _of(home, each)


def _begun(document: Mapping[str, Any]) -> float:
    return float(document.get("begun") or document["started"])


def _of(home: Path, document: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return what another run cost: its record's sum once it is over, as a running one's is that of before it went on."""
    cost = document.get("cost")
    if document["state"] != "running" and cost and all(getattr(read(cost), name) is not None for name in _UNSURE):
        return [cost]
    try:
        return _so_far(Run(home, document["run_id"]), document)
    except FileNotFoundError:  # `fleetml gc` removes it just now
        return []


def _so_far(run: Run, document: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [attempt.cost for step in document["steps"] for attempt in run.attempts(step) if attempt.cost]
