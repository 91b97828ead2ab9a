"""Integrals of samples against numpy's."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetml.cost.integrals import gpu_seconds, joules, trapezoid
from fleetml.cost.scenarios import Scenario

WATTS = st.lists(st.floats(0.01, 1e4), min_size=2, max_size=200)


@settings(deadline=None)
@given(WATTS, st.floats(0.01, 3600))
def test_the_trapezoid_is_numpys(watts: list[float], step: float) -> None:
    assert trapezoid(watts, step) == pytest.approx(float(np.trapezoid(watts, dx=step)), rel=1e-12)


@settings(deadline=None)
@given(WATTS, st.floats(0.1, 60), st.integers(1, 198))
def test_the_integral_of_two_parts_is_that_of_the_whole(watts: list[float], step: float, cut: int) -> None:
    cut = min(cut, len(watts) - 1)
    first, second = trapezoid(watts[: cut + 1], step), trapezoid(watts[cut:], step)
    assert (first or 0) + (second or 0) == pytest.approx(trapezoid(watts, step))


@pytest.mark.parametrize(("samples", "step"), [([], 5.0), ([12.0], 5.0), ([12.0, 12.0], None)])
def test_what_spans_no_time_has_no_integral(samples: list[float], step: float | None) -> None:
    """An energy of 0 J would be a wrong number."""
    assert trapezoid(samples, step) is None


def test_energy_is_that_of_the_samples_else_as_measured_elsewhere() -> None:
    sampled = Scenario(name="a", power_watts=(10.0, 20.0, 10.0), step_seconds=5.0, total_energy_wh=9.0)
    assert joules(sampled) == 150.0
    assert joules(Scenario(name="a", total_energy_wh=2.0, mean_power_w=1.0, duration=1.0)) == 7200.0
    assert joules(Scenario(name="a", mean_power_w=12.0, duration=60.0)) == 720.0
    assert joules(Scenario(name="a", mean_power_w=12.0)) is None


def test_a_machine_without_a_gpu_uses_none_and_refused_samples_are_not_none() -> None:
    assert gpu_seconds(Scenario(name="a")) == 0.0
    assert gpu_seconds(Scenario(name="a", refused=frozenset({"gpu_usage_cores"}))) is None
    assert gpu_seconds(Scenario(name="a", gpu_usage_cores=(1.0, 1.0), step_seconds=5.0)) == 5.0
