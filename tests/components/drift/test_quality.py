"""The accuracy of the forecasts whose truth has arrived."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from fleetml.errors import InvalidParameter
from fleetml.learn.windows import Windows
from fleetml.serving import truth
from tests.components.drift.conftest import Monitor


def observe(monitor: Monitor, factor: float = 1.0) -> None:
    """Let what was forecast an hour ago come true, `factor` times."""
    log = truth.logged(monitor.root, "bandwidth", datetime.now(UTC) - timedelta(days=7))
    log = log.filter(pl.col("model_version") == "3")
    rows = [
        (vm, origin + timedelta(seconds=300 * (k + 1)), value * factor)
        for vm, origin, made in log.select("vm_id", "origin", "predictions").unique("vm_id").iter_rows()
        for k, value in enumerate(made)
    ]
    truth.write(monitor.root, "bandwidth", pl.DataFrame(rows, schema=truth.SCHEMA, orient="row"))


def one_of_each(windows: Callable[..., Windows]) -> Windows:
    return windows(10, seed=9)


def test_forecasts_that_came_true_are_accurate(monitor: Monitor, windows: Callable[..., Windows]) -> None:
    monitor.log(one_of_each(windows))
    observe(monitor)
    assert monitor.quality() == pytest.approx(1.0)
    assert pl.read_parquet(monitor.folder / "judged")["forecasts"].to_list() == [10]
    monitor.log(windows(300, seed=9))
    monitor.drift()
    assert "<svg" in (monitor.folder / "report").read_text()


def test_the_error_is_relative_to_the_traffic(monitor: Monitor, windows: Callable[..., Windows]) -> None:
    monitor.log(one_of_each(windows))
    observe(monitor, 2.0)
    assert monitor.quality() == pytest.approx(0.5)
    observe(monitor, 0.1)
    assert monitor.quality() == 0.0


def test_without_truth_the_accuracy_is_unknown(monitor: Monitor, windows: Callable[..., Windows]) -> None:
    assert monitor.quality() == -1.0
    monitor.log(one_of_each(windows))
    assert monitor.quality() == -1.0
    observe(monitor)
    assert monitor.quality(min_forecasts=11) == -1.0
    assert monitor.made["quality metrics"].metadata["accuracy"] == "unknown"


def test_only_the_served_version_of_the_last_days_is_judged(monitor: Monitor, windows: Callable[..., Windows]) -> None:
    monitor.log(one_of_each(windows), version="2", add=1e6)
    monitor.log(one_of_each(windows), hours_ago=8 * 24, add=1e6)
    monitor.log(one_of_each(windows))
    observe(monitor)
    assert monitor.quality() == pytest.approx(1.0)


def test_one_question_about_a_far_future_hides_nothing(monitor: Monitor, windows: Callable[..., Windows]) -> None:
    monitor.log(one_of_each(windows))
    observe(monitor)
    monitor.log(one_of_each(windows)[:1])
    late = max(monitor.root.rglob("predictions/**/*.parquet"), key=lambda file: file.name)
    future = pl.datetime(9999, 12, 31, time_unit="us", time_zone="UTC")
    pl.read_parquet(late).with_columns(origin=future).write_parquet(late)
    assert monitor.quality() == pytest.approx(1.0)


@pytest.mark.parametrize("wrong", [{"serving_dir": ""}, {"days": 0}, {"min_forecasts": 0}])
def test_parameters_out_of_range_are_refused(monitor: Monitor, wrong: dict[str, object]) -> None:
    with pytest.raises(InvalidParameter, match="mend them"):
        monitor.quality(**wrong)
