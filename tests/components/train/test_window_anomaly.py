"""The step that fits the window detector of a VM: what it learns from the canonical table, and what it refuses."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from components.train.window_anomaly import train_window_anomaly
from fleetml.component import Artifact
from fleetml.data import schema, synthetic
from fleetml.errors import InvalidData, InvalidParameter
from fleetml.learn import scorer
from fleetml.learn.forecaster import session
from fleetml.serving import backends, kinds, tensors


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> pl.DataFrame:
    fleet = synthetic.parse("synthetic://?vms=2&days=4")
    path = tmp_path_factory.mktemp("fleet") / "data"
    schema.write(synthetic.generate(fleet, datetime(2026, 1, 7, tzinfo=UTC)), path)
    return pl.read_parquet(path)


def trained(table: pl.DataFrame, folder: Path, **given: object) -> tuple[Artifact, Artifact]:
    data, model, metrics = (Artifact(name, str(folder / name)) for name in ("data", "model", "metrics"))
    schema.write(table, data.path)
    settings = {"vm": table["vm_id"][0], "steps": 6, "smooth": 4, "trim": 0.0} | given
    train_window_anomaly(data, **settings, model=model, metrics=metrics)
    return model, metrics


def test_a_vm_gets_a_detector_that_says_which_metrics_it_takes(table: pl.DataFrame, tmp_path: Path) -> None:
    model, metrics = trained(table, tmp_path)
    loaded = session(model.path)
    said = scorer.described(loaded)
    assert said.about["rows"] == 9
    assert metrics.metadata["metrics"] == ", ".join(said.about["columns"])
    width = len(said.about["columns"])
    wild = np.full((1, 9, width), 1e9, np.float32)
    assert loaded.run(["score"], {"metrics": wild})[0][0, 0] > 1
    assert model.metadata["vm"] == table["vm_id"][0]
    assert 0 <= metrics.metadata["alarms_per_week"] < 7 * 288 / 2


def test_a_server_takes_it_by_raw_tensors(table: pl.DataFrame, tmp_path: Path) -> None:
    model, _ = trained(table, tmp_path)
    name, kind = kinds.of(backends.choose("cpu").load(model.path.read_bytes()))
    assert name == "window_anomaly"
    assert kind is tensors.KIND


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"vm": "vm-of-nobody"}, "vm must be one of"),
        ({"steps": 0}, "steps must be from"),
        ({"trim": 0.9}, "trim must be from"),
    ],
)
def test_what_cannot_be_is_refused(table: pl.DataFrame, tmp_path: Path, given: dict[str, object], words: str) -> None:
    with pytest.raises(InvalidParameter, match=words):
        trained(table, tmp_path, **given)


def test_a_vm_without_metrics_or_history_is_refused(table: pl.DataFrame, tmp_path: Path) -> None:
    nothing = table.with_columns(pl.lit(None, pl.Float64).alias(name) for name in schema.METRICS)
    with pytest.raises(InvalidData, match="must have a metric"):
        trained(nothing, tmp_path)
    with pytest.raises(InvalidData, match="give more history"):
        trained(table.head(12), tmp_path)
