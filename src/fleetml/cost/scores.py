"""How much a scenario delivers for its energy; more is better. Scores compare within one output ladder, by one rule.

| rule | unit | score |
|---|---|---|
| qoe_efficiency_score | quality-weighted pixels/J | pixels x VMAF / 100 / J |
| pixels_per_joule | pixels/J | pixels / J |
| quality_per_watt | VMAF/W | VMAF / mean W |
| throughput_per_watt | Mbps/W | bitrate x streams / mean W; none for the idle machine |

A name that tells no number of streams is of one stream.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from fleetml.cost.integrals import joules
from fleetml.cost.scenarios import Scenario
from fleetml.errors import InvalidParameter, nearest
from fleetml.frozen import frozen

AUTO = "auto"


@frozen
class Drawn:
    """What a scenario drew: mean power [W] and energy [J], measured or predicted; None where it is not known."""

    watts: float | None
    joules: float | None


def measured(scenario: Scenario) -> Drawn:
    """Return what a scenario drew, by its samples."""
    return Drawn(scenario.mean_watts, joules(scenario))


def pixels_per_joule(scenario: Scenario, drawn: Drawn) -> float | None:
    """Return pixels per joule."""
    return _ratio(scenario.pixels, drawn.joules)


def qoe_efficiency(scenario: Scenario, drawn: Drawn) -> float | None:
    """Return pixels per joule, weighted by VMAF / 100."""
    found = pixels_per_joule(scenario, drawn)
    return None if found is None or scenario.vmaf_score is None else found * scenario.vmaf_score / 100


def quality_per_watt(scenario: Scenario, drawn: Drawn) -> float | None:
    """Return VMAF per watt; an idle machine has no quality."""
    return None if scenario.is_baseline else _ratio(scenario.vmaf_score, drawn.watts)


def throughput_per_watt(scenario: Scenario, drawn: Drawn) -> float | None:
    """Return megabits a second per watt."""
    if scenario.is_baseline or not scenario.mbps:
        return None
    return _ratio(scenario.mbps * scenario.stream_count, drawn.watts)


RULES: dict[str, Callable[[Scenario, Drawn], float | None]] = {
    "qoe_efficiency_score": qoe_efficiency,
    "pixels_per_joule": pixels_per_joule,
    "quality_per_watt": quality_per_watt,
    "throughput_per_watt": throughput_per_watt,
}
UNITS = {
    "qoe_efficiency_score": "quality-weighted pixels/J",
    "pixels_per_joule": "pixels/J",
    "quality_per_watt": "VMAF/W",
    "throughput_per_watt": "Mbps/W",
}


def rule_of(scenario: Scenario) -> str:
    """Return the rule of "auto": QoE when VMAF is known, else pixels when there are several outputs, else throughput."""
    if scenario.vmaf_score is not None:
        return "qoe_efficiency_score"
    return "pixels_per_joule" if len(scenario.outputs) > 1 else "throughput_per_watt"


def score(scenario: Scenario, rule: str = AUTO, drawn: Drawn | None = None) -> float | None:
    """Return the score by a rule, None where the scenario lacks what it needs. Raises InvalidParameter for an unknown rule."""
    return _rule(rule_of(scenario) if rule == AUTO else rule)(scenario, drawn or measured(scenario))


@frozen
class Ladder:
    """The scenarios of one output ladder with their scores [`UNITS` of the rule], best first; those without one left out."""

    name: str
    rule: str
    scored: tuple[tuple[Scenario, float], ...]


def ladders(scenarios: Iterable[Scenario], rule: str = AUTO) -> list[Ladder]:
    """Return the scenarios by their output ladder, in the order these come; without a known ladder there is no comparison.

    "auto" is the rule of all scenarios of a ladder where it is one; where VMAF is known of a part of them alone, it is the rule
    without it, as two units do not compare. Raises InvalidParameter for an unknown rule.
    """
    found: dict[str, list[Scenario]] = {}
    for each in scenarios:
        if each.ladder is not None and not each.is_baseline:
            found.setdefault(each.ladder, []).append(each)
    return [_ladder(name, members, rule) for name, members in found.items()]


def _ladder(name: str, members: Sequence[Scenario], rule: str) -> Ladder:
    if rule == AUTO:
        rules = {rule_of(it) for it in members} - {"qoe_efficiency_score"}
        rule = min(rules, default="qoe_efficiency_score")  # one: members of a ladder have the same outputs
    ask = _rule(rule)
    known = [(it, value) for it in members if (value := ask(it, measured(it))) is not None]
    return Ladder(name, rule, tuple(sorted(known, key=lambda it: -it[1])))


def _rule(name: str) -> Callable[[Scenario, Drawn], float | None]:
    if name not in RULES:
        known = ", ".join([AUTO, *RULES])
        raise InvalidParameter(f"a score is one of {known}, got {name!r}{nearest(name, RULES)}")
    return RULES[name]


def _ratio(delivered: float | None, drawn: float | None) -> float | None:
    return None if delivered is None or not drawn or drawn < 0 else delivered / drawn
