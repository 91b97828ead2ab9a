"""Feature table, windows and covariates, checked against the canonical table they come from."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from components.features.features import features
from components.features.grid import Cut, Split, filled, floored, seasonal_mae
from components.features.materialise import materialise
from components.features.table import feature_table
from feature_repo.definitions import REFERENCES
from feature_repo.store import online_features
from fleetml.component import Artifact
from fleetml.data import schema, synthetic
from fleetml.errors import ConfigurationError, InvalidData, InvalidParameter
from fleetml.learn import windows
from fleetml.learn.windows import Meta, Windows

CONTEXT, HORIZON, TESTS = 36, 6, 2


def table(rows: list[dict[str, object]]) -> pl.LazyFrame:
    return schema.conform(pl.LazyFrame(rows))


class Made:
    """The outputs of one call of the stage."""

    def __init__(self, folder: Path, frame: pl.LazyFrame, **given: object) -> None:
        data = Artifact("data", str(folder / "data.parquet"))
        schema.write(frame, data.path)
        names = ("features", "train", "val", "test", "metrics")
        self.artifacts = {name: Artifact(name, str(folder / name)) for name in names}
        known = {"target": "bandwidth", "context": CONTEXT, "horizon": HORIZON, "test_windows": TESTS}
        features(data=data, **self.artifacts, **{**known, **given})

    def windows(self, name: str) -> Windows:
        return windows.load(self.artifacts[name].path)


@pytest.fixture(scope="module")
def fleet() -> pl.DataFrame:
    return synthetic.generate(synthetic.parse("synthetic://?vms=6&seed=3"), datetime(2024, 3, 1, tzinfo=UTC), days=4)


@pytest.fixture(scope="module")
def made(fleet: pl.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Made:
    return Made(tmp_path_factory.mktemp("features"), fleet.lazy(), max_windows=120)


def test_a_bin_is_the_mean_of_its_samples() -> None:
    noon = datetime(2024, 1, 1, 12, tzinfo=UTC)
    rows = [
        {
            "vm_id": "a",
            "timestamp": noon + timedelta(seconds=s),
            "network_received": r,
            "network_sent": 1.0,
            "cpu_usage": 10.0,
        }
        for s, r in ((0, 2.0), (60, 4.0), (299, 6.0), (300, 100.0))
    ]
    found = feature_table(table(rows)).sort("event_timestamp")
    assert found["event_timestamp"].to_list() == [noon, noon + timedelta(minutes=5)]
    assert found["network_io"].to_list() == [5.0, 101.0]
    assert found["memory_usage"].to_list() == [None, None]


def test_a_gap_is_a_missing_row_and_memory_a_share() -> None:
    noon = datetime(2024, 1, 1, 12, tzinfo=UTC)
    rows = [
        {"vm_id": "a", "timestamp": noon, "memory_usage": 25.0, "memory_capacity": 100.0},
        {"vm_id": "a", "timestamp": noon + timedelta(minutes=20), "memory_usage": 0.0, "memory_capacity": 0.0},
    ]
    found = feature_table(table(rows))
    assert len(found) == 2
    assert found["memory_usage"].to_list() == [25.0, None]


def test_histories_are_filled_forward_then_backward() -> None:
    nan = np.nan
    history = np.array([[nan, 1, nan, nan, 2], [3, nan, 4, 5, nan]], np.float32)
    assert filled(history).tolist() == [[1, 1, 1, 1, 2], [3, 3, 4, 5, 5]]


def test_scale_is_the_seasonal_naive_error_over_known_pairs() -> None:
    assert seasonal_mae(np.array([1, 2, 3, np.nan, 6, 2], np.float32), 2) == pytest.approx((2 + 3) / 2)
    assert np.isnan(seasonal_mae(np.array([1.0], np.float32), 2))


def test_a_vm_that_stood_all_but_still_does_not_outweigh_the_others() -> None:
    def cut(vm: str, scale: float) -> Cut:
        return Cut(vm, np.array([0]), np.zeros((1, 1), np.float32), np.zeros((1, 1), np.float32), scale)

    found = floored(
        {"train": [cut("a", 1.0), cut("b", 2.0), cut("c", 3.0), cut("still", 1e-6)], "test": [cut("dead", 0.0)]}
    )
    assert [one.scale for one in found["train"]] == [1.0, 2.0, 3.0, pytest.approx(0.05 * 1.5)]
    assert found["test"][0].scale == 0.0  # still not scored
    assert floored({"test": [cut("dead", 0.0)]})["test"][0].scale == 0.0


def test_windows_hold_the_values_of_the_feature_table(made: Made) -> None:
    found = pl.read_parquet(made.artifacts["features"].path)
    test = made.windows("test")
    for row in range(0, len(test), 3):
        series = found.filter(pl.col("vm_id") == str(test.vm_id[row]))
        known = dict(zip(series["event_timestamp"].dt.replace_time_zone(None), series["network_io"], strict=True))
        origin = test.origin[row].astype(datetime)
        after = [known.get(origin + timedelta(minutes=5 * (step + 1))) for step in range(HORIZON)]
        np.testing.assert_allclose(test.target[row], np.array(after, np.float32), rtol=1e-6)
        if (last := known.get(origin)) is not None:
            assert test.history[row, -1] == np.float32(last)


def test_no_target_overlaps_a_later_split(made: Made) -> None:
    step = np.timedelta64(schema.STEP_SECONDS, "s")
    train, val, test = (made.windows(name) for name in ("train", "val", "test"))
    assert train.origin.max() + HORIZON * step <= val.origin.min() + step
    assert val.origin.max() + HORIZON * step <= test.origin.min()
    assert len(np.unique(test.origin)) == TESTS
    assert len(train) <= 120
    assert train.meta.covariates == REFERENCES


def test_covariates_are_those_of_the_origin(made: Made) -> None:
    found = pl.read_parquet(made.artifacts["features"].path)
    test = made.windows("test")
    names = [reference.partition(":")[2] for reference in REFERENCES]
    series = found.filter(pl.col("vm_id") == str(test.vm_id[0]))
    at = series.filter(pl.col("event_timestamp").dt.replace_time_zone(None) <= test.origin[0].astype(datetime)).tail(1)
    wanted = np.array([at[name][0] for name in names], dtype=np.float32)
    np.testing.assert_allclose(test.covariates[0], wanted, rtol=1e-6)


def test_the_same_seed_draws_the_same_windows(made: Made, fleet: pl.DataFrame, tmp_path: Path) -> None:
    again = Made(tmp_path, fleet.lazy(), max_windows=120).windows("train")
    np.testing.assert_array_equal(again.origin, made.windows("train").origin)
    np.testing.assert_array_equal(again.covariates, made.windows("train").covariates)


def test_online_equals_offline_at_the_same_time(made: Made, tmp_path: Path) -> None:
    store = tmp_path / "store"
    metrics = Artifact("metrics", str(tmp_path / "m"))
    materialise(features=made.artifacts["features"], metrics=metrics, store=str(store))
    found = pl.read_parquet(made.artifacts["features"].path)
    recent = found.filter(pl.col("event_timestamp") > found["event_timestamp"].max() - timedelta(hours=24))
    latest = recent.group_by("vm_id").agg(pl.all().sort_by("event_timestamp").last())
    online = online_features(store, latest["vm_id"].to_list(), REFERENCES, found["event_timestamp"].max())
    for row in latest.iter_rows(named=True):
        known = {
            reference: row[name]
            for reference in REFERENCES
            if (name := reference.partition(":")[2]) in row and row[name] is not None
        }
        assert dict(online[row["vm_id"]]) == known
    assert online_features(store, ["nobody"], REFERENCES) == {"nobody": {}}
    assert metrics.metadata["vms"] == len(latest)


def test_a_store_that_was_never_filled_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="materialise"):
        online_features(tmp_path / "empty", ["a"], REFERENCES)
    with pytest.raises(ConfigurationError, match="give store"):
        materialise(Artifact("f", str(tmp_path / "unread")), Artifact("m", ""), "")


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        ({"context": 5000}, InvalidData, r"give \d+ days \(window_days\)$"),
        ({"test_windows": 0}, InvalidParameter, "test_windows must be at least 1"),
        ({"target": "colour"}, InvalidParameter, "colour"),
        ({"seed": -1}, InvalidParameter, "seed must be from 0"),
        ({"seed": 2**32}, InvalidParameter, "seed must be from 0"),
    ],
)
def test_what_gives_no_windows_is_refused(
    fleet: pl.DataFrame, tmp_path: Path, change: dict[str, object], error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        Made(tmp_path, fleet.lazy(), **change)
    assert not (tmp_path / "train").exists()


def test_gaps_that_leave_no_window_are_named_as_the_cause(fleet: pl.DataFrame, tmp_path: Path) -> None:
    one_in_four = pl.when(pl.int_range(pl.len()) % 4 == 0)
    network = ("network_received", "network_sent")
    holed = fleet.lazy().with_columns(one_in_four.then(pl.col(name)).alias(name) for name in network)
    with pytest.raises(InvalidData, match="fewer gaps"):
        Made(tmp_path, holed)


def test_a_target_without_a_value_is_refused(fleet: pl.DataFrame, tmp_path: Path) -> None:
    none = fleet.lazy().with_columns(network_received=None, network_sent=None)
    with pytest.raises(InvalidData, match="all are missing"):
        Made(tmp_path, none)


def test_data_too_short_for_a_long_horizon_are_told_how_many_days_or_windows_would_do():
    long = Meta(target="cpu", context=288, horizon=720)
    with pytest.raises(InvalidData, match=r"give 34 days \(window_days\), or ask for test_windows of at most 5$"):
        Split.of(30 * 288, long, 6)
    assert Split.of(34 * 288, long, 6).end == 34 * 288
    assert Split.of(30 * 288, long, 5).end == 30 * 288
