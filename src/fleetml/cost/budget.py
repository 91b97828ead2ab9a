"""What the runs of a pipeline may cost: limits of a run and of a month (UTC), in money, energy and CO2.

They stand in its triggers.yaml:

    budget:
      currency: USD                                   of the money; FLEETML_COST_CURRENCY unless said
      run: {money: 5, kwh: 2, co2_grams: 500}         beyond: an alarm
      month: {money: 100, stop: true}                 stop: no further step is run, too
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

from fleetml.cost.estimate import Cost
from fleetml.errors import ConfigurationError
from fleetml.frozen import asdict, frozen

QUANTITIES = {"money": "", "kwh": "kWh", "co2_grams": "g CO2"}


@frozen
class Limits:
    """At most so much, None: any. `stop`: no step is run once one of them is reached, resuming needs a higher one."""

    money: float | None = None
    kwh: float | None = None
    co2_grams: float | None = None
    stop: bool = False

    def shares(self, spent: Cost) -> dict[str, float]:
        """Return the part of each limit that is spent, by quantity; what nobody knows of `spent` is absent."""
        found = {}
        for name in QUANTITIES:
            limit, used = getattr(self, name), getattr(spent, name)
            if limit is not None and used is not None:
                found[name] = used / limit
        return found


@frozen
class Budget:
    """The limits of a run and of all runs of a pipeline in a calendar month (UTC); money is in `currency`."""

    currency: str
    run: Limits = Limits()
    month: Limits = Limits()

    @classmethod
    def of(cls, document: Any, currency: str) -> Budget | None:
        """Return what an entry `budget` says, None where there is none; `currency` is what runs are reckoned in.

        Raises ConfigurationError without a place.
        """
        if document is None:
            return None
        if not isinstance(document, Mapping) or not document or set(document) - {"currency", "run", "month"}:
            raise ConfigurationError(f"budget has run, month and currency, got {document!r}; mend it")
        named = document.get("currency", currency)
        if named != currency:
            raise ConfigurationError(
                f"budget is in {named!r}, runs are reckoned in {currency}, and two currencies are not compared; write it in "
                f"{currency}, or set FLEETML_COST_CURRENCY"
            )
        return cls(currency, _limits("run", document.get("run")), _limits("month", document.get("month")))

    @classmethod
    def recorded(cls, document: Mapping[str, Any] | None) -> Budget | None:
        """Return the budget of a run's record (`to_json`)."""
        return cls(document["currency"], Limits(**document["run"]), Limits(**document["month"])) if document else None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def spent(self, run: Cost, month: Cost) -> Iterator[tuple[str, str, float, bool]]:
        """Yield of each limit: run or month, its quantity, the part of it that is spent, and whether it stops runs.

        `month` is what all runs of the month cost, this one too.
        """
        for period, limits, spent in (("run", self.run, run), ("month", self.month, month)):
            for quantity, share in limits.shares(spent).items():
                yield period, quantity, share, limits.stop

    def exceeded(self, run: Cost, month: Cost, only_stops: bool = False) -> list[str]:
        """Return a sentence for each limit that is reached, only of those that stop runs if so asked."""
        costs = {"run": run, "month": month}
        return [
            self._sentence(period, quantity, getattr(costs[period], quantity))
            for period, quantity, share, stop in self.spent(run, month)
            if share >= 1 and (stop or not only_stops)
        ]

    def _sentence(self, period: str, quantity: str, used: float) -> str:
        unit = QUANTITIES[quantity] or self.currency
        who = "this run has" if period == "run" else "the runs of this month have"
        return f"{who} used {used:.4g} {unit} of {getattr(getattr(self, period), quantity):.4g} {unit}"


def month_of(when: float) -> float:
    """Return when the month (UTC) of a time began [s since the epoch]."""
    import calendar  # here, as most runs have no budget

    now = time.gmtime(when)
    return calendar.timegm((now.tm_year, now.tm_mon, 1, 0, 0, 0))


def _limits(period: str, document: Any) -> Limits:
    known = {*QUANTITIES, "stop"}
    if document is None:
        return Limits()
    if not isinstance(document, Mapping) or set(document) - known or not set(document) & set(QUANTITIES):
        raise ConfigurationError(f"budget.{period} has {', '.join(QUANTITIES)} and stop, got {document!r}; mend it")
    for name, value in document.items():
        right = isinstance(value, bool) if name == "stop" else _is_limit(value)
        if not right:
            wanted = "true or false" if name == "stop" else "a number above 0"
            raise ConfigurationError(f"budget.{period}.{name} is {wanted}, got {value!r}; mend it")
    return Limits(**document)


def _is_limit(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < float("inf")
