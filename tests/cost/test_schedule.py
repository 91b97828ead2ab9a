"""When and where a run goes: checked against every minute, and by hand."""

import random

import pytest

from fleetml.cost.ahead import Expected
from fleetml.cost.schedule import Offer, Plan, amount, plans, wait
from fleetml.cost.series import HOUR
from fleetml.errors import InvalidData, InvalidParameter

START = 1_700_006_400


def rates(*values: float | None) -> Expected:
    known = {START + number * HOUR: value for number, value in enumerate(values)}
    return known.get


def only(offers: list[Offer], hours: float, expected: Expected, begin: float = 0, **how: bool) -> Plan:
    (plan,) = plans(offers, START + begin, START + hours * HOUR, {"r": expected}, **{"money": False, **how})
    return plan


def test_the_cheapest_hour_before_the_deadline_is_taken() -> None:
    run = Offer("r", seconds=HOUR, kwh=2.0)
    plan = only([run], 3, rates(5, 3, 4, 1))
    assert (plan.spans, plan.amount, plan.at_once) == (((START + HOUR, START + 2 * HOUR),), 6.0, 10.0)


def test_a_run_of_parts_of_hours_begins_where_no_minute_is_better() -> None:
    """Begin and end lie within hours: what is found equals the least of all minutes."""
    source = random.Random(3)
    for _ in range(60):
        run = Offer("r", seconds=60 * source.randint(20, 400), kwh=1.0)
        expected = rates(*(source.uniform(-2, 9) for _ in range(12)))
        begin, hours = 60 * source.randint(0, 100), 11 + source.randint(0, 59) / 60
        plan = only([run], hours, expected, begin)
        last = int(START + hours * HOUR - run.seconds)
        minutes = [
            amount(run, [(at, at + run.seconds)], expected, money=False) or 0.0
            for at in range(START + begin, last + 1, 60)
        ]
        assert plan.amount == pytest.approx(min(minutes))
        assert START + begin <= plan.begins <= last + 1e-6


def test_where_all_hours_cost_the_same_it_begins_at_once() -> None:
    source = random.Random(5)
    for _ in range(200):
        run = Offer("r", seconds=source.uniform(60, 5 * HOUR), kwh=source.uniform(0.1, 9))
        begin = source.uniform(0, 3 * HOUR)
        assert only([run], 24, rates(*[0.1] * 24), begin).begins == START + begin


def test_a_run_that_may_be_interrupted_takes_the_cheapest_parts() -> None:
    run = Offer("r", seconds=1.5 * HOUR, kwh=3.0)
    plan = only([run], 4, rates(5, 1, 4, 2), interruptible=True)
    assert plan.spans == ((START + HOUR, START + 2 * HOUR), (START + 3 * HOUR, START + 3.5 * HOUR))
    assert plan.amount == pytest.approx(1 * 2 + 2 * 1)


def test_parts_that_touch_are_one() -> None:
    plan = only([Offer("r", seconds=2 * HOUR, kwh=1.0)], 4, rates(5, 1, 2, 9), interruptible=True)
    assert plan.spans == ((START + HOUR, START + 3 * HOUR),)


def test_what_it_may_take_at_most_is_kept_free_before_the_deadline() -> None:
    plan = only([Offer("r", seconds=HOUR, kwh=1.0, longest=2 * HOUR)], 4, rates(5, 3, 2, 1))
    assert plan.begins == START + 2 * HOUR


def test_the_best_region_and_hour_come_first() -> None:
    offers = [Offer("a", HOUR, 1.0), Offer("b", HOUR, 1.0)]
    expected = {"a": rates(5, 4, 6), "b": rates(7, 7, 2)}
    first, second = plans(offers, START, START + 3 * HOUR, expected, money=False)
    assert (first.offer.region, first.amount, second.offer.region, second.amount) == ("b", 2, "a", 4)


def test_the_cheapest_instance_that_keeps_the_deadline_is_taken() -> None:
    """The slow one is the cheapest, and too slow for half an hour."""
    slow = Offer("r", HOUR, 0.0, "slow", per_hour=0.1)
    fast, faster = Offer("r", HOUR / 2, 0.0, "fast", per_hour=0.3), Offer("r", HOUR / 4, 0.0, "faster", per_hour=0.8)
    free = {"r": rates(0, 0)}
    assert plans([fast, faster, slow], START, START + HOUR, free, money=True)[0].offer is slow
    assert plans([fast, faster, slow], START, START + HOUR / 2, free, money=True)[0].offer is fast


def test_an_hour_of_which_nothing_is_known_is_not_planned() -> None:
    plan = only([Offer("r", seconds=HOUR, kwh=1.0)], 3, rates(None, 3, None, 1))
    assert (plan.begins, plan.at_once) == (START + HOUR, None)
    with pytest.raises(InvalidData, match="nothing is known of any from 2023-11-15T00:00Z"):
        only([Offer("r", seconds=HOUR, kwh=1.0)], 3, rates())


def test_what_cannot_be_planned_is_refused() -> None:
    with pytest.raises(InvalidParameter, match=r"that is 3.0 h, the quickest of 1 offers may take 4.0 h"):
        only([Offer("r", seconds=HOUR, kwh=1.0, longest=4 * HOUR)], 3, rates(1, 1, 1))
    two = [Offer("r", HOUR, 1.0, currency="EUR"), Offer("r", HOUR, 1.0)]
    with pytest.raises(InvalidParameter, match="one currency can be compared, got EUR, USD"):
        plans(two, START, START + 9 * HOUR, {"r": rates(1)}, money=True)
    for wrong in (Offer("r", 0, 1.0), Offer("r", HOUR, -1.0), Offer("r", HOUR, float("nan"))):
        with pytest.raises(InvalidParameter, match="a run takes some time"):
            only([wrong], 3, rates(1, 1, 1))


class Clock:
    """A time that passes by sleeping."""

    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        assert 0 < seconds <= 60
        self.now += seconds


def waited(hours: float, expected: Expected) -> float:
    """Return when a run of an hour begins that waits for the best of the next `hours` [h since `START`]."""
    clock, run = Clock(START + 60), Offer("r", seconds=HOUR, kwh=1.0)

    def ask(now: float) -> Plan:
        return plans([run], now, START + 60 + hours * HOUR, {"r": expected}, money=False)[0]

    plan = wait(ask, clock=clock, sleep=clock.sleep)
    assert clock.now == plan.begins
    return (clock.now - START) / HOUR


def test_who_waits_begins_with_the_best_hour() -> None:
    assert waited(5, rates(5, 3, 4, 1, 9, 9)) == 3
    assert waited(5, rates(1, 3, 4, 5, 9, 9)) == pytest.approx(60 / 3600)
    assert waited(2.5, rates(9, 8, 7, 7)) == pytest.approx(1.5 + 60 / 3600)


def test_who_waits_asks_again_each_hour_for_what_has_become_known() -> None:
    """The third hour looked best; when it is next, it does not any more."""
    asked: list[float] = []

    def ask(now: float) -> Plan:
        asked.append(now - START)
        expected = rates(5, 5, 1 if now < START + HOUR else 6, 2)
        return plans([Offer("r", HOUR, 1.0)], now, START + 4 * HOUR, {"r": expected}, money=False)[0]

    clock = Clock(START)
    assert wait(ask, clock=clock, sleep=clock.sleep).begins == START + 3 * HOUR
    assert asked == [0, HOUR, 2 * HOUR]
