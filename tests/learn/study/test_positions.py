import math

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from fleetml.learn.study import positions

NUMERIC = [
    IntDistribution(1, 8),
    IntDistribution(8, 256, log=True),
    IntDistribution(0, 30, step=10),
    FloatDistribution(-2.0, 3.0),
    FloatDistribution(1e-5, 1.0, log=True),
    FloatDistribution(0.0, 1.0, step=0.25),
]


@pytest.mark.parametrize("kind", NUMERIC, ids=str)
def test_a_position_leads_back_to_its_value(kind):
    for place in (0.0, 0.2, 0.5, 0.9, 1.0):
        value = positions.value_at(kind, place)
        assert kind._contains(kind.to_internal_repr(value))
        assert positions.value_at(kind, positions.position(kind, value)) == pytest.approx(value)
    assert positions.value_at(kind, -1.0) == kind.low
    assert positions.value_at(kind, 2.0) == kind.high


@pytest.mark.parametrize("kind", [*NUMERIC, CategoricalDistribution(["a", "b", "c"])], ids=str)
def test_draws_stay_inside_and_reach_both_ends(kind):
    drawn = [positions.drawn(kind, number / 1000) for number in range(1000)]
    assert all(kind._contains(kind.to_internal_repr(value)) for value in drawn)
    if isinstance(kind, CategoricalDistribution):
        assert (drawn[0], drawn[-1]) == (kind.choices[0], kind.choices[-1])
    else:
        assert (drawn[0], drawn[-1]) == (kind.low, pytest.approx(kind.high, rel=0.02))


def test_every_step_is_as_probable_as_another():
    drawn = [positions.drawn(IntDistribution(1, 4), (number + 0.5) / 400) for number in range(400)]
    assert [drawn.count(value) for value in (1, 2, 3, 4)] == [100] * 4


def test_counts_of_values():
    counts = [positions.count(kind) for kind in NUMERIC]
    assert counts == [8, 249, 4, math.inf, math.inf, 5]
    assert positions.count(CategoricalDistribution(["a", "b"])) == 2


def test_choices_have_no_positions():
    with pytest.raises(TypeError, match="needs a float or int distribution"):
        positions.position(CategoricalDistribution(["a"]), 0.0)


@pytest.mark.parametrize("kind", [*NUMERIC, CategoricalDistribution(["a", "b", "c"])], ids=str)
def test_every_value_has_an_index(kind):
    if math.isfinite(positions.count(kind)):
        values = [positions.nth(kind, index) for index in range(int(positions.count(kind)))]
        assert len(set(values)) == len(values)
        assert all(kind._contains(kind.to_internal_repr(value)) for value in values)
        assert [positions.index_of(kind, value) for value in values] == list(range(len(values)))
