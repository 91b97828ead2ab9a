"""Rankings within a ladder, and whether two scenarios differ."""

import random

import pytest

from fleetml.cost import recommend
from fleetml.cost.scenarios import Output, Scenario
from fleetml.errors import InvalidData, InvalidParameter

HD, SD = Output(1280, 720, 30.0), Output(640, 360, 30.0)


def watts(mean: float, spread: float = 0.5, count: int = 60, seed: int = 1) -> tuple[float, ...]:
    source = random.Random(seed)
    return tuple(source.gauss(mean, spread) for _ in range(count))


def scenario(name: str, power: tuple[float, ...], *outputs: Output, mbps: float | None = 5.0) -> Scenario:
    seconds = 2.0 * (len(power) - 1)
    return Scenario(name=name, mbps=mbps, outputs=outputs, power_watts=power, step_seconds=2.0, duration=seconds)


SCENARIOS = [
    scenario("Baseline (Idle)", watts(5), HD),
    scenario("hot", watts(20), HD),
    scenario("cool", watts(10), HD),
    scenario("lukewarm", tuple(reversed(watts(10.02))), HD),
    scenario("two", watts(12), HD, SD),
    scenario("unmeasured", (), HD),
]


def test_the_best_of_each_ladder_come_first() -> None:
    hd, both = recommend.top(SCENARIOS)
    assert (hd.name, hd.rule, [each.name for each, _ in hd.scored][2]) == (
        "1280x720@30",
        "throughput_per_watt",
        "hot",
    )
    assert (both.name, both.rule) == ("1280x720@30,640x360@30", "pixels_per_joule")
    assert [len(ladder.scored) for ladder in recommend.top(SCENARIOS, count=1)] == [1, 1]


def test_a_ranking_is_told_with_its_rule_and_unit() -> None:
    (first, _) = recommend.document(recommend.top(SCENARIOS))
    assert (first["unit"], first["ranking"][2]["scenario"]) == ("Mbps/W", "hot")
    assert first["ranking"][2]["rank"] == 3
    assert first["ranking"][2]["score"] == pytest.approx(5 / 20, rel=0.02)


def test_two_that_differ_do_so_beyond_what_their_samples_vary() -> None:
    found = recommend.compare(SCENARIOS, "cool", "hot")
    assert found.low is not None
    assert found.high is not None
    assert found.low < found.difference < found.high
    assert found.difference == pytest.approx(0.25, rel=0.02)
    assert found.differs


def test_two_that_vary_more_than_they_differ_are_not_told_apart() -> None:
    found = recommend.compare(SCENARIOS, "cool", "lukewarm")
    assert found.low is not None
    assert found.differs is False


def test_power_that_drifts_is_less_sure_than_power_that_flickers() -> None:
    """Both have the same samples; sorted, neighbours are alike, and fewer of them say something new."""

    def width(order: tuple[float, ...]) -> float:
        found = recommend.compare([scenario("one", order, HD), SCENARIOS[1]], "one", "hot")
        assert found.low is not None
        assert found.high is not None
        return found.high - found.low

    assert width(tuple(sorted(watts(10, 2)))) > 1.5 * width(watts(10, 2))


def test_few_samples_give_no_interval() -> None:
    found = recommend.compare([scenario("few", watts(8, count=5), HD), SCENARIOS[1]], "few", "hot")
    assert (found.low, found.high, found.differs) == (None, None, None)
    assert found.difference > 0


@pytest.mark.parametrize(
    ("one", "other", "rule", "error", "said"),
    [
        ("cool", "two", "auto", InvalidParameter, "'two' of 1280x720@30,640x360@30; compare two of one ladder"),
        ("cool", "hott", "auto", InvalidParameter, "did you mean 'hot'"),
        ("cool", "Baseline (Idle)", "auto", InvalidParameter, "is the idle machine"),
        ("cool", "hot", "best", InvalidParameter, "a score is one of auto"),
        ("cool", "unmeasured", "auto", InvalidData, "'unmeasured' lacks some of it"),
        ("cool", "hot", "quality_per_watt", InvalidData, "'cool' lacks some of it"),
    ],
)
def test_what_does_not_compare_is_refused(one: str, other: str, rule: str, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        recommend.compare(SCENARIOS, one, other, rule)


def test_without_a_ladder_nothing_compares() -> None:
    bare = [scenario("a", watts(9)), scenario("b", watts(8))]
    assert recommend.top(bare) == []
    with pytest.raises(InvalidParameter, match="'a' of an unknown one and 'b' of an unknown one"):
        recommend.compare(bare, "a", "b")


def test_a_top_of_fewer_than_none_is_refused() -> None:
    with pytest.raises(InvalidParameter, match="got -1"):
        recommend.top(SCENARIOS, count=-1)
