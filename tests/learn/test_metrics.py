"""Errors of forecasts, against figures worked out by hand."""

import numpy as np
import pytest

from fleetml.learn import metrics
from fleetml.learn.windows import Meta, Windows

NAN = np.nan


@pytest.fixture
def windows() -> Windows:
    """Three windows of two VMs, two steps each: one gap, one window without a scale."""
    return Windows(
        vm_id=np.array(["a", "a", "b"]),
        origin=np.array(["2024-01-01", "2024-01-02", "2024-01-01"], "datetime64[us]"),
        history=np.zeros((3, 4), np.float32),
        covariates=np.empty((3, 0), np.float32),
        target=np.array([[1, 3], [NAN, 6], [5, 5]], np.float32),
        scale=np.array([2, 2, 0], np.float32),
        meta=Meta(context=4, horizon=2, season=2),
    )


FORECAST = np.array([[2, 1], [9, 2], [5, 4]], np.float32)


def test_mae_is_the_mean_over_windows_of_what_was_measured(windows: Windows) -> None:
    assert metrics.window_mae(windows, FORECAST).tolist() == [1.5, 4.0, 0.5]
    assert metrics.mae(windows, FORECAST) == pytest.approx(2.0)


def test_mase_divides_by_the_scale_and_skips_windows_without_one(windows: Windows) -> None:
    assert metrics.mase(windows, FORECAST) == pytest.approx((0.75 + 2.0) / 2)


def test_per_vm_says_none_where_nothing_is_scored(windows: Windows) -> None:
    assert metrics.per_vm(windows, FORECAST) == {
        "a": {"mase": pytest.approx(1.375), "mae": pytest.approx(2.75)},
        "b": {"mase": None, "mae": pytest.approx(0.5)},
    }


def test_per_step_is_in_units_of_the_scale(windows: Windows) -> None:
    assert metrics.per_step(windows, FORECAST).tolist() == [0.5, 1.5]


def test_nothing_measured_is_nan(windows: Windows) -> None:
    assert np.isnan(metrics.mae(windows[:0], FORECAST[:0]))


def test_a_forecast_that_is_no_number_is_infinitely_wrong_where_there_was_something_to_forecast(
    windows: Windows,
) -> None:
    hollow = np.array([[1, NAN], [NAN, 6], [5, 5]], np.float32)  # right wherever it says anything
    assert metrics.mase(windows, hollow) == np.inf
    assert metrics.per_vm(windows, hollow)["a"] == {"mase": np.inf, "mae": np.inf}
    assert metrics.per_step(windows, hollow).tolist() == [0.0, np.inf]
    assert metrics.mae(windows[1:], hollow[1:]) == 0.0
