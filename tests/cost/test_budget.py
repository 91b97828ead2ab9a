"""What runs may cost: what is read, what is reached."""

from datetime import UTC, datetime
from typing import Any

import pytest

from fleetml.cost.budget import Budget, Limits, month_of
from fleetml.cost.estimate import Cost
from fleetml.errors import ConfigurationError


def cost(money: float | None, kwh: float = 0.0, grams: float | None = 0.0) -> Cost:
    return Cost(money=money, kwh=kwh, co2_grams=grams, currency="USD")


def test_what_is_reached_is_told_and_only_some_limits_stop() -> None:
    found = Budget.of({"run": {"money": 5, "kwh": 2}, "month": {"money": 100, "co2_grams": 10, "stop": True}}, "USD")
    assert found is not None
    assert found.exceeded(cost(4.9, 1.9), cost(99, 50, 9)) == []
    assert found.exceeded(cost(6.0, 2.0), cost(99)) == [
        "this run has used 6 USD of 5 USD",
        "this run has used 2 kWh of 2 kWh",
    ]
    assert found.exceeded(cost(6.0, 2.0), cost(99), only_stops=True) == []
    assert found.exceeded(cost(1), cost(120, 0, 12), only_stops=True) == [
        "the runs of this month have used 120 USD of 100 USD",
        "the runs of this month have used 12 g CO2 of 10 g CO2",
    ]
    assert Budget.recorded(found.to_json()) == found


def test_what_nobody_knows_reaches_nothing() -> None:
    assert Limits(money=5, co2_grams=5).shares(cost(None, 1.0, None)) == {}


def test_a_month_begins_in_utc() -> None:
    when = datetime(2026, 11, 1, 0, 30, tzinfo=UTC).timestamp()
    assert month_of(when) == datetime(2026, 11, 1, tzinfo=UTC).timestamp()
    assert month_of(when - 3600) == datetime(2026, 10, 1, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("document", "told"),
    [
        ([], "budget has run, month and currency, got"),
        ({}, "budget has run, month and currency, got"),
        ({"day": {"money": 1}}, "budget has run, month and currency, got"),
        ({"run": {"usd": 1}}, "budget.run has money, kwh, co2_grams and stop, got"),
        ({"run": {"stop": True}}, "budget.run has money, kwh, co2_grams and stop, got"),
        ({"run": {"money": "5"}}, "budget.run.money is a number above 0, got '5'"),
        ({"month": {"kwh": 0}}, "budget.month.kwh is a number above 0, got 0"),
        ({"month": {"kwh": 1, "stop": 1}}, "budget.month.stop is true or false, got 1"),
        ({"currency": "EUR", "run": {"money": 5}}, "budget is in 'EUR', runs are reckoned in USD"),
    ],
)
def test_a_mistake_is_told(document: Any, told: str) -> None:
    with pytest.raises(ConfigurationError, match=told):
        Budget.of(document, "USD")
    assert Budget.of(None, "USD") is None
