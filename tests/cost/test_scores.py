"""Efficiency scores, checked by hand."""

import pytest

from fleetml.cost.scenarios import Output, Scenario
from fleetml.cost.scores import ladders, rule_of, score
from fleetml.errors import InvalidParameter
from fleetml.frozen import replace

HD, SD = Output(1280, 720, 30.0), Output(854, 480, 30.0)
ONE = Scenario(
    name="4 Streams @ 2500k",
    streams=4,
    bitrate="2500k",
    mbps=2.5,
    outputs=(HD,),
    duration=10.0,
    power_watts=(50.0, 50.0, 50.0),
    step_seconds=5.0,
)
PIXELS = 1280 * 720 * 30 * 10


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("throughput_per_watt", 4 * 2.5 / 50),
        ("pixels_per_joule", PIXELS / 500),
        ("quality_per_watt", 90 / 50),
        ("qoe_efficiency_score", PIXELS * 0.9 / 500),
    ],
)
def test_each_rule(rule: str, expected: float) -> None:
    assert score(replace(ONE, vmaf_score=90.0), rule) == pytest.approx(expected)


def test_the_automatic_rule_is_quality_then_pixels_then_throughput() -> None:
    assert rule_of(ONE) == "throughput_per_watt"
    assert rule_of(replace(ONE, outputs=(HD, SD))) == "pixels_per_joule"
    assert rule_of(replace(ONE, outputs=(HD, SD), vmaf_score=90.0)) == "qoe_efficiency_score"
    assert score(ONE) == score(ONE, "throughput_per_watt")


def test_a_name_without_a_number_of_streams_is_one_stream() -> None:
    """As measured: 10 Mbps at 9.08 W score 1.1013 in the analysis of 29 December."""
    alone = Scenario(name="10 Mbps Stream", mbps=10.0, mean_power_w=9.08)
    assert score(alone) == pytest.approx(1.1013215859)


def test_an_idle_machine_has_no_score() -> None:
    idle = replace(ONE, name="Baseline (Idle)", vmaf_score=90.0)
    assert [score(idle, rule) for rule in ("throughput_per_watt", "pixels_per_joule", "quality_per_watt")] == [None] * 3
    assert score(replace(ONE, mbps=0.0), "throughput_per_watt") is None


@pytest.mark.parametrize(
    "rule", ["throughput_per_watt", "pixels_per_joule", "quality_per_watt", "qoe_efficiency_score"]
)
def test_what_lacks_power_or_quality_has_no_score(rule: str) -> None:
    assert score(replace(ONE, power_watts=(), vmaf_score=90.0), rule) is None
    assert score(Scenario(name="bare", mean_power_w=5.0), rule) is None


def test_ladders_are_apart_and_each_is_best_first() -> None:
    worse = replace(ONE, name="worse", power_watts=(80.0, 80.0, 80.0))
    ladder = replace(ONE, name="two outputs", outputs=(HD, SD))
    unknown, idle = replace(ONE, name="unknown", outputs=()), replace(ONE, name="idle")
    found = ladders([worse, ONE, ladder, unknown, idle])
    assert [(it.name, it.rule) for it in found] == [
        ("1280x720@30", "throughput_per_watt"),
        ("1280x720@30,854x480@30", "pixels_per_joule"),
    ]
    assert [it.name for it, _ in found[0].scored] == [ONE.name, "worse"]
    assert ladders([idle, unknown]) == []


def test_a_ladder_whose_quality_is_known_in_part_is_scored_without_it() -> None:
    """Quality-weighted pixels per joule are about a million times megabits per watt."""
    (found,) = ladders([ONE, replace(ONE, name="rated", vmaf_score=90.0)])
    assert found.rule == "throughput_per_watt"
    assert [value for _, value in found.scored] == [0.2, 0.2]
    assert ladders([replace(ONE, vmaf_score=90.0)])[0].rule == "qoe_efficiency_score"


def test_an_unknown_rule_is_refused_and_the_near_one_named() -> None:
    with pytest.raises(InvalidParameter, match="did you mean 'pixels_per_joule'"):
        score(ONE, "pixel_per_joule")


def test_no_streams_deliver_nothing_and_a_name_without_a_number_is_of_one() -> None:
    none, untold = (Scenario(name="a", streams=n, mbps=5.0, mean_power_w=10.0) for n in (0, None))
    assert score(none, "throughput_per_watt") == 0.0
    assert score(untold, "throughput_per_watt") == 0.5
