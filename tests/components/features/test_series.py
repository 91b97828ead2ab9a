"""The step that makes series: whole VMs, a row for each step, the past before the future."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from components.features.series import TRAIN, series
from fleetml.component import Artifact
from fleetml.data import schema, synthetic
from fleetml.errors import InvalidData, InvalidParameter
from fleetml.learn.anomaly import samples
from fleetml.learn.anomaly.samples import Samples


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> pl.DataFrame:
    fleet = synthetic.parse("synthetic://?vms=3&days=2")
    path = tmp_path_factory.mktemp("fleet") / "data"
    schema.write(synthetic.generate(fleet, datetime(2026, 1, 7, tzinfo=UTC)), path)
    return pl.read_parquet(path)


def made(table: pl.DataFrame, folder: Path, **given: object) -> tuple[Samples, Samples]:
    data, train, test, metrics = (Artifact(name, str(folder / name)) for name in ("data", "train", "test", "metrics"))
    schema.write(table, data.path)
    series(data, train, test, metrics, **({"vm": "", "metric": "", "max_rows": 60000, "seed": 0} | given))
    assert train.metadata["vm"] == test.metadata["vm"] == given.get("vm", "")
    return samples.load(train.path), samples.load(test.path)


def test_the_past_is_fitted_on_and_every_step_is_there(table: pl.DataFrame, tmp_path: Path) -> None:
    whole = table.with_row_index().filter((pl.col("index") % 7 != 3) | (pl.col("index") < 10)).drop("index")
    train, test = made(whole, tmp_path)
    assert set(train.vm_id) == set(test.vm_id) == set(table["vm_id"])
    assert train.time.max() < test.time.min()
    for part in (train, test):
        for vm in set(part.vm_id):
            assert set(np.diff(part.time[part.vm_id == vm])) == {np.timedelta64(5, "m")}
        assert np.isfinite(part.values[:, 0]).all()
    assert len(train) / (len(train) + len(test)) == pytest.approx(TRAIN, abs=0.01)


def test_a_gap_holds_what_was_before(table: pl.DataFrame, tmp_path: Path) -> None:
    vm = table["vm_id"][0]
    own = table.filter(pl.col("vm_id") == vm).sort("timestamp").with_row_index()
    before, after = (
        made(each, tmp_path, vm=vm)[0].values
        for each in (own.drop("index"), own.filter(~pl.col("index").is_between(50, 59)).drop("index"))
    )
    np.testing.assert_allclose(after[50:60], np.repeat(before[49:50], 10, axis=0), rtol=1e-6)
    np.testing.assert_allclose(after[60:], before[60:], rtol=1e-6)


def test_one_vm_or_whole_ones_as_far_as_rows_go(table: pl.DataFrame, tmp_path: Path) -> None:
    vm = table["vm_id"][-1]
    assert set(made(table, tmp_path, vm=vm)[0].vm_id) == {vm}
    train, test = made(table, tmp_path, max_rows=2 * 2 * 288 + 5)
    assert len(set(train.vm_id)) == 2
    assert len(train) + len(test) == 2 * 2 * 288
    assert len(set(made(table, tmp_path, max_rows=1)[0].vm_id)) == 1


def test_the_steps_of_gaps_count_among_the_rows(table: pl.DataFrame, tmp_path: Path) -> None:
    hole = table.filter(~pl.col("timestamp").dt.hour().is_between(2, 20))
    most = 2 * 2 * 288 + 5
    train, test = made(hole, tmp_path, max_rows=most)
    assert len(train) + len(test) <= most
    assert len(set(train.vm_id)) == 2


def test_of_a_metric_the_others_are_absent(table: pl.DataFrame, tmp_path: Path) -> None:
    whole, _ = made(table, tmp_path)
    train, _ = made(table, tmp_path, metric="disk_io")
    place = samples.METRICS.index("disk_io")
    np.testing.assert_array_equal(train.values[:, place], whole.values[:, place])
    assert np.isnan(np.delete(train.values, place, axis=1)).all()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"vm": "vm-of-nobody"}, "vm must be one of"),
        ({"metric": "networkio"}, "did you mean 'network_io'"),
        ({"max_rows": 0}, "max_rows must be at least"),
    ],
)
def test_what_cannot_be_is_refused(table: pl.DataFrame, tmp_path: Path, given: dict[str, object], words: str) -> None:
    with pytest.raises(InvalidParameter, match=words):
        made(table, tmp_path, **given)


def test_a_table_without_metrics_is_refused(table: pl.DataFrame, tmp_path: Path) -> None:
    nothing = table.with_columns(pl.lit(None, pl.Float64).alias(name) for name in schema.METRICS)
    with pytest.raises(InvalidData, match="the data have none"):
        made(nothing, tmp_path)
