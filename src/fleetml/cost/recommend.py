"""Which scenario of an output ladder delivers most for its energy, and whether two of them really differ."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from math import ceil
from typing import Any

from fleetml.cost import scores
from fleetml.cost.scenarios import Scenario
from fleetml.cost.scores import AUTO, Ladder
from fleetml.errors import InvalidData, InvalidParameter, nearest
from fleetml.frozen import frozen, replace

DRAWS = 1000
_FEWEST = 8  # samples that say how much power varies


@frozen
class Comparison:
    """How two scenarios of one ladder differ by one rule [`scores.UNITS`]: `one` less `other`.

    low, high: the difference's 95 % interval by the samples of their power; None where one has fewer than eight of them. It tells how
    surely these two measurements differ; that another day would measure the same it does not tell.
    """

    ladder: str
    rule: str
    one: float
    other: float
    low: float | None
    high: float | None

    @property
    def difference(self) -> float:
        return self.one - self.other

    @property
    def differs(self) -> bool | None:
        """Say whether the interval leaves 0 out; None without one."""
        return None if self.low is None or self.high is None else self.low > 0 or self.high < 0


def top(scenarios: Iterable[Scenario], rule: str = AUTO, count: int = 0) -> list[Ladder]:
    """Return the best `count` (0: all) of each ladder that has a scored one, best first. Raises InvalidParameter."""
    if count < 0:
        raise InvalidParameter(f"a top is of at least 1, or 0 for all, got {count}; correct it")
    return [
        replace(ladder, scored=ladder.scored[: count or None])
        for ladder in scores.ladders(scenarios, rule)
        if ladder.scored
    ]


def compare(
    scenarios: Iterable[Scenario], one: str, other: str, rule: str = AUTO, draws: int = DRAWS, seed: int = 0
) -> Comparison:
    """Compare the scenarios of these names; what "auto" means is what their whole ladder is scored by.

    The interval is of `draws` moving-block bootstraps of the power samples (Künsch 1989; blocks of the cube root of their number, as
    neighbours are alike), drawn with `seed`. Raises InvalidParameter for an unknown name or rule and for two ladders, InvalidData for a
    scenario without ladder or score.
    """
    known = list(scenarios)
    first, second = _named(known, one), _named(known, other)
    if first.ladder != second.ladder or first.ladder is None:
        raise InvalidParameter(
            f"scores compare within one output ladder, got {one!r} of {first.ladder or 'an unknown one'} and {other!r} of "
            f"{second.ladder or 'an unknown one'}; compare two of one ladder"
        )
    if rule == AUTO:
        rule = next(ladder.rule for ladder in scores.ladders(known) if ladder.name == first.ladder)
    left, right = _scored(first, rule), _scored(second, rule)
    low, high = _interval(first, second, rule, draws, seed)
    return Comparison(first.ladder, rule, left, right, low, high)


def document(ladders: Iterable[Ladder]) -> list[dict[str, Any]]:
    """Return rankings as JSON says them."""
    return [
        {
            "output_ladder": ladder.name,
            "rule": ladder.rule,
            "unit": scores.UNITS[ladder.rule],
            "ranking": [
                {"rank": rank, "scenario": scenario.name, "score": value}
                for rank, (scenario, value) in enumerate(ladder.scored, 1)
            ],
        }
        for ladder in ladders
    ]


def _named(scenarios: Sequence[Scenario], name: str) -> Scenario:
    found = {each.name: each for each in scenarios}
    if name not in found:
        raise InvalidParameter(
            f"a scenario is one of {', '.join(found) or 'none'}, got {name!r}{nearest(name, found)}; name one of those"
        )
    if found[name].is_baseline:
        raise InvalidParameter(f"{name!r} is the idle machine, which delivers nothing; compare two others")
    return found[name]


def _scored(scenario: Scenario, rule: str) -> float:
    value = scores.score(scenario, rule)
    if value is None:
        raise InvalidData(
            f"a score of {rule} needs power, and what it is delivered for, {scenario.name!r} lacks some of it; measure that, or "
            f"choose another rule: {', '.join(scores.RULES)}"
        )
    return value


def _interval(
    one: Scenario, other: Scenario, rule: str, draws: int, seed: int
) -> tuple[float, float] | tuple[None, None]:
    if min(len(one.power_watts), len(other.power_watts)) < _FEWEST:
        return None, None
    source = random.Random(seed)  # noqa: S311 - nothing secret
    drawn = (
        _scored(replace(one, power_watts=_resampled(one.power_watts, source)), rule)
        - _scored(replace(other, power_watts=_resampled(other.power_watts, source)), rule)
        for _ in range(draws)
    )
    ordered = sorted(drawn)
    tail = max(0, ceil(0.025 * draws) - 1)
    return ordered[tail], ordered[-1 - tail]


def _resampled(samples: Sequence[float], source: random.Random) -> tuple[float, ...]:
    """Return as many samples, in blocks drawn with replacement."""
    length = ceil(len(samples) ** (1 / 3))
    begins = range(len(samples) - length + 1)
    blocks = (source.choice(begins) for _ in range(ceil(len(samples) / length)))
    return tuple(samples[at] for begin in blocks for at in range(begin, begin + length))[: len(samples)]
