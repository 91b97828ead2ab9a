"""What forecasts are judged by: written by day, late and again, joined by VM and step."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fleetml.errors import InvalidData
from fleetml.serving import truth
from fleetml.serving.deployment import PREDICTIONS

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
STEP = timedelta(minutes=5)


def values(*rows: tuple[str, int, float]) -> pl.DataFrame:
    """Rows of (vm, steps after noon, value)."""
    return pl.DataFrame([(vm, NOON + k * STEP, value) for vm, k, value in rows], schema=truth.SCHEMA, orient="row")


def asked(*rows: tuple[str, datetime, list[float]]) -> pl.DataFrame:
    return pl.DataFrame(
        [(at, at, vm, "1", "champion", "", 300, 1.0, "", made) for vm, at, made in rows], schema=truth.LOG, orient="row"
    )


def test_what_comes_late_is_added_and_what_comes_again_replaces(tmp_path: Path) -> None:
    assert truth.write(tmp_path, "bandwidth", values(("a", 0, 1.0), ("b", 0, float("nan")))) == 1
    truth.write(tmp_path, "bandwidth", values(("b", 0, 5.0), ("a", 0, 2.0), ("a", 300, 3.0)))  # 300 steps: another day
    assert truth.read(tmp_path, "bandwidth", NOON).rows() == [
        ("a", NOON, 2.0),
        ("b", NOON, 5.0),
        ("a", NOON + 300 * STEP, 3.0),
    ]
    assert truth.read(tmp_path, "bandwidth", NOON, NOON + STEP).height == 2
    assert truth.read(tmp_path, "cpu", NOON).is_empty()
    assert len(list(tmp_path.glob("truth/model=bandwidth/date=*/*.parquet"))) == 2


def test_a_span_holds_its_beginning_and_not_its_end(tmp_path: Path) -> None:
    truth.write(tmp_path, "bandwidth", values(*(("a", k, float(k)) for k in range(-1, 3))))
    assert truth.read(tmp_path, "bandwidth", NOON, NOON + 2 * STEP)["value"].to_list() == [0.0, 1.0]


def test_a_table_that_is_no_truth_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidData, match="value is missing"):
        truth.write(tmp_path, "bandwidth", values(("a", 0, 1.0)).drop("value"))


def test_a_forecast_is_judged_by_the_steps_after_its_origin() -> None:
    known = values(("a", 0, 100.0), ("a", 1, 10.0), ("a", 2, 20.0), ("b", 1, 1.0))
    judged = truth.errors(asked(("a", NOON, [13.0, 16.0, 7.0]), ("b", NOON, [1.5])), known)
    assert judged.select("vm_id", "error", "actual", "steps").rows() == [("a", 7.0, 30.0, 2), ("b", 0.5, 1.0, 1)]
    assert truth.wape(judged) == pytest.approx(7.5 / 31)


def test_an_origin_between_two_steps_belongs_to_the_earlier() -> None:
    judged = truth.errors(asked(("a", NOON + timedelta(seconds=200), [13.0])), values(("a", 1, 10.0)))
    assert judged["error"].to_list() == [3.0]


def test_what_has_no_truth_yet_or_failed_is_not_judged() -> None:
    log = asked(("a", NOON, []), ("a", NOON + 9 * STEP, [1.0]))
    judged = truth.errors(log, values(("a", 1, 10.0)))
    assert judged.is_empty()
    assert truth.wape(judged) is None


def test_the_log_is_read_whatever_features_its_files_have(tmp_path: Path) -> None:
    for name, extra in (("1", "lag"), ("2", "other")):
        folder = tmp_path / PREDICTIONS / "model=bandwidth" / "date=2026-03-01"
        folder.mkdir(parents=True, exist_ok=True)
        log = asked(("a", NOON, [1.0])).with_columns(pl.lit(name).alias("model_version"), pl.lit(0.5).alias(extra))
        pq.write_table(log.to_arrow(), folder / f"{name}.parquet")
    old = pa.table({"time": pa.array([NOON], pa.timestamp("us", "UTC")), "vm_id": ["a"], "model_version": ["0"]})
    pq.write_table(old, folder / "0.parquet")
    found = truth.logged(tmp_path, "bandwidth", NOON - STEP)
    assert found.columns == list(truth.LOG)
    assert found["model_version"].to_list() == ["0", "1", "2"]
    assert found["role"].to_list() == [None, "champion", "champion"]
    assert truth.logged(tmp_path, "bandwidth", NOON + STEP).is_empty()


def test_of_the_log_only_files_written_since_are_opened(tmp_path: Path) -> None:
    """A rollout reads the log at each look: what was full before it began is none of its business."""
    day = tmp_path / PREDICTIONS / "model=bandwidth" / f"date={NOON.date()}"
    day.mkdir(parents=True)
    (day / "old.parquet").write_bytes(b"no Parquet: whoever opens it stumbles")
    before = (NOON - timedelta(hours=1)).timestamp()
    os.utime(day / "old.parquet", (before, before))
    asked(("a", NOON - STEP, [1.0]), ("a", NOON, [2.0])).write_parquet(day / "new.parquet")
    assert truth.logged(tmp_path, "bandwidth", NOON)["predictions"].to_list() == [[2.0]]
    os.utime(day / "old.parquet", (NOON.timestamp(), NOON.timestamp()))
    with pytest.raises(pl.exceptions.PolarsError):
        truth.logged(tmp_path, "bandwidth", NOON)
