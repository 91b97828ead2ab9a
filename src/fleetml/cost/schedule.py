"""When and where a run should go: the hour, the region and the instance that cost least, or emit least, before a deadline.

Times are seconds since the epoch, UTC. What an hour costs there is asked of an `Expected` (`fleetml.cost.ahead`): a price
[currency/kWh] or an intensity [g/kWh]; the plan is only as good as what it says.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence

from fleetml.cost.ahead import Expected
from fleetml.cost.series import HOUR, hours, told
from fleetml.errors import InvalidData, InvalidParameter
from fleetml.frozen import frozen

Span = tuple[float, float]
"""Begin and end [s]."""
_NAP = 60.0  # [s] at most: the clock may be set meanwhile
_ROUNDING = 1e-9
_MOMENT = 1e-3  # [s] a run that lacks no more than this is whole


@frozen
class Offer:
    """Where a run may go, and what it needs there.

    seconds: how long it takes, usually; longest: how long it may take, which the deadline must leave room for (0: `seconds`).
    kwh: the energy of it, spread evenly. per_hour: what an hour of the instance costs beside its energy [`currency`].
    """

    region: str
    seconds: float
    kwh: float
    instance: str = ""
    per_hour: float = 0.0
    currency: str = "USD"
    longest: float = 0.0

    @property
    def name(self) -> str:
        return f"{self.region} {self.instance}".rstrip()


@frozen
class Plan:
    """When an offer is taken, and what that is expected to cost: `amount` of money, or of grams.

    `spans` is one unless the run may be interrupted. `at_once`: the same, begun now and not interrupted; None where nothing says.
    """

    offer: Offer
    spans: tuple[Span, ...]
    amount: float
    at_once: float | None

    @property
    def begins(self) -> float:
        return self.spans[0][0]

    @property
    def ends(self) -> float:
        return self.spans[-1][1]


def plans(
    offers: Sequence[Offer],
    now: float,
    deadline: float,
    expected: Mapping[str, Expected],
    *,
    money: bool,
    interruptible: bool = False,
) -> list[Plan]:
    """Return the best plan of each offer, the least amount first; of equal ones that which begins first.

    `expected` is by region; `money` says that it is a price, so that what the instances cost counts too. An interruptible run
    takes the best parts of hours; stopping and going on is taken for free. An offer that cannot keep the deadline, or of whose hours
    nothing is known, is left out. Raises InvalidParameter where none can keep it, for no time or energy, and for money of two
    currencies; InvalidData where nothing is known of any hour.
    """
    for offer in offers:
        _check(offer)
    if money and len(currencies := {offer.currency for offer in offers}) > 1:
        raise InvalidParameter(
            f"amounts of one currency can be compared, got {', '.join(sorted(currencies))}; give prices of one currency"
        )
    fitting = [offer for offer in offers if now + (offer.longest or offer.seconds) <= deadline]
    if not fitting:
        raise InvalidParameter(_late(offers, now, deadline))
    found = [_plan(offer, now, deadline, expected[offer.region], money, interruptible) for offer in fitting]
    if not (known := [plan for plan in found if plan]):
        raise InvalidData(
            f"a plan needs what an hour costs, nothing is known of any from {told(now)} to {told(deadline)} in "
            f"{', '.join(sorted({offer.region for offer in fitting}))}; give a series that reaches the present"
        )
    return sorted(known, key=lambda plan: (plan.amount, plan.begins, plan.offer.name))


def amount(offer: Offer, spans: Sequence[Span], expected: Expected, *, money: bool) -> float | None:
    """Return what an offer costs in these spans; None where one of their hours is unknown."""
    total = 0.0
    for hour, seconds in (part for span in spans for part in hours(*span)):
        if (rate := expected(hour)) is None:
            return None
        total += rate * offer.kwh * seconds / offer.seconds
    return total + (offer.per_hour * offer.seconds / HOUR if money else 0.0)


def wait(
    ask: Callable[[float], Plan],
    tell: Callable[[Plan], None] = lambda plan: None,
    clock: Callable[[], float] = time.time,
    sleep: Callable[[float], None] = time.sleep,
) -> Plan:
    """Return when the best plan begins, and that plan. It is asked for again each hour, as more is known then; `tell` is told each."""
    while True:
        plan = ask(now := clock())
        tell(plan)
        until = min(plan.begins, (now // HOUR + 1) * HOUR)
        while (left := until - clock()) > 0:
            sleep(min(left, _NAP))
        if until == plan.begins:
            return plan


def _plan(
    offer: Offer, now: float, deadline: float, expected: Expected, money: bool, interruptible: bool
) -> Plan | None:
    latest = deadline - max(0.0, (offer.longest or offer.seconds) - offer.seconds)
    spans = _parts if interruptible else _whole
    found = [
        (cost, taken)
        for taken in spans(offer, now, latest, expected)
        if taken and (cost := amount(offer, taken, expected, money=money)) is not None
    ]
    if not found:
        return None
    least = min(cost for cost, _ in found)  # who waits for a rounding error waits for nothing
    taken, cost = min((taken, cost) for cost, taken in found if cost <= least + _ROUNDING * abs(least))
    return Plan(offer, taken, cost, amount(offer, [(now, now + offer.seconds)], expected, money=money))


def _whole(offer: Offer, now: float, latest: float, _: Expected) -> Iterator[tuple[Span, ...]]:
    """Yield the spans that may be the best: between hours' bounds the cost of a run is linear in its begin, so it begins or ends on one."""
    bounds = (now, *(hour for hour, _ in hours(now, latest)), latest)
    for begin in sorted({begin for bound in bounds for begin in (bound, bound - offer.seconds)}):
        if now <= begin and begin + offer.seconds <= latest:
            yield ((begin, begin + offer.seconds),)


def _parts(offer: Offer, now: float, latest: float, expected: Expected) -> Iterator[tuple[Span, ...]]:
    """Yield the cheapest hours and the part of the next one that together are as long as the run; they are joined where they touch."""
    known = [(rate, hour) for hour, _ in hours(now, latest) if (rate := expected(hour)) is not None]
    left, taken = offer.seconds, []
    for _, hour in sorted(known):
        if left > _MOMENT:
            begin, end = max(now, hour), min(latest, hour + HOUR)
            taken.append((begin, min(end, begin + left)))
            left -= min(end - begin, left)
    if left <= _MOMENT:
        yield _joined(sorted(taken))


def _joined(spans: Sequence[Span]) -> tuple[Span, ...]:
    joined: list[Span] = []
    for begin, end in spans:
        if joined and joined[-1][1] == begin:
            begin = joined.pop()[0]
        joined.append((begin, end))
    return tuple(joined)


def _check(offer: Offer) -> None:
    if not (0 < offer.seconds < float("inf") and 0 <= offer.kwh < float("inf") and offer.per_hour >= 0):
        raise InvalidParameter(
            "a run takes some time, no less than 0 kWh and no less than 0 an hour, "
            f"got {offer.seconds} s, {offer.kwh} kWh and {offer.per_hour} for {offer.name}; correct it"
        )


def _late(offers: Sequence[Offer], now: float, deadline: float) -> str:
    quickest = min((offer.longest or offer.seconds for offer in offers), default=0.0)
    return (
        f"a run must be able to end before its deadline, {told(deadline)}: from {told(now)} that is "
        f"{(deadline - now) / HOUR:.1f} h, the quickest of {len(offers)} offers may take {quickest / HOUR:.1f} h; "
        "give more hours, or a faster instance"
    )
