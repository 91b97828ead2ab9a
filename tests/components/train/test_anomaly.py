"""Samples, training and compression of the anomaly detector, one after the other as in the pipeline."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from components.compress.edge import compress_anomaly
from components.features.samples import samples
from components.train.anomaly import train_anomaly
from fleetml.component import Artifact
from fleetml.data import schema, synthetic
from fleetml.errors import InvalidData, InvalidParameter
from fleetml.learn.anomaly import judge
from fleetml.learn.anomaly.samples import Samples, load
from fleetml.learn.forecaster import session


def artifacts(folder: Path, *names: str) -> list[Artifact]:
    return [Artifact(name, str(folder / name)) for name in names]


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("anomaly")
    fleet = synthetic.parse("synthetic://?vms=12&days=6")
    schema.write(synthetic.generate(fleet, datetime(2026, 1, 7, tzinfo=UTC)), folder / "data")
    samples(*artifacts(folder, "data", "train", "val", "test", "metrics"), max_rows=4000, seed=0)
    return folder


def test_rows_are_split_by_time_and_drawn(split: Path) -> None:
    train, val, test = (load(split / name) for name in ("train", "val", "test"))
    assert (len(train), len(val), len(test)) == (4000, 2000, 2000)
    assert np.isnan(train.values).any()  # idle VMs answer nobody
    whole = pl.read_parquet(split / "data")
    assert set(train.vm_id) <= set(whole["vm_id"])


def test_a_fleet_with_too_few_rows_is_refused(split: Path, tmp_path: Path) -> None:
    few = pl.read_parquet(split / "data").head(100)
    schema.write(few, tmp_path / "data")
    made = artifacts(tmp_path, "data", "train", "val", "test", "metrics")
    with pytest.raises(InvalidData, match="at least 50 rows"):
        samples(*made, max_rows=4000, seed=0)
    with pytest.raises(InvalidParameter, match="max_rows"):
        samples(*made, max_rows=10, seed=0)
    nothing = few.with_columns(pl.lit(None, pl.Float64).alias(name) for name in schema.METRICS)
    schema.write(nothing, tmp_path / "data")
    with pytest.raises(InvalidData, match="at least one of the six"):
        samples(*made, max_rows=4000, seed=0)


def test_a_trained_detector_is_small_and_compresses(split: Path, tmp_path: Path) -> None:
    model, metrics = artifacts(tmp_path, "model", "metrics")
    train, val = artifacts(split, "train", "val")
    train_anomaly(train, val, 16, 4, 5.0, 0, model, metrics)
    assert model.metadata["kind"] == "anomaly"
    assert model.metadata["validation_auroc"] > 0.7
    assert model.path.stat().st_size < 20_000
    compressed, figures = artifacts(tmp_path, "compressed", "figures")
    compress_anomaly(model, val, 1.0, compressed, figures)
    assert figures.metadata["size_bytes"] <= model.path.stat().st_size
    rows = load(split / "test").values
    before, after = (judge.ask(session(each.path), rows)[0] for each in (model, compressed))
    assert np.corrcoef(before, after)[0, 1] > 0.9
    compress_anomaly(model, val, 0.0, compressed, figures)
    assert figures.metadata["loss"] <= 0


@pytest.mark.parametrize(
    ("width", "epochs", "alarms", "words"),
    [(0, 1, 1.0, "width"), (1, 0, 1.0, "epochs"), (1, 1, 0.0, "alarms_per_vm_week"), (1, 1, 1e9, "alarms_per_vm_week")],
)
def test_what_cannot_be_trained_is_refused(tmp_path: Path, width: int, epochs: int, alarms: float, words: str) -> None:
    with pytest.raises(InvalidParameter, match=words):
        train_anomaly(
            *artifacts(tmp_path, "train", "val"), width, epochs, alarms, 0, *artifacts(tmp_path, "model", "metrics")
        )


def test_compression_needs_a_limit(tmp_path: Path) -> None:
    run = partial(compress_anomaly, compressed=artifacts(tmp_path, "c")[0], metrics=artifacts(tmp_path, "m")[0])
    with pytest.raises(InvalidParameter, match="max_loss"):
        run(*artifacts(tmp_path, "model", "val"), -0.1)


def test_samples_hold_a_row_each() -> None:
    assert len(Samples(np.array(["a"]), np.zeros((1, 6), np.float32))) == 1
