import dataclasses
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow.parquet as pq
import pytest

from components.batch_predict.batch_predict import batch_predict
from fleetml.component import Artifact
from fleetml.learn.graph import InvalidGraph


@pytest.fixture
def step(tmp_path, graph):
    """Return a function that runs batch_predict with the last value + 1 on windows, and returns its outputs."""

    def run(test_windows):
        made = {name: Artifact(name, str(tmp_path / name)) for name in ("test", "predictions", "metrics")}
        test_windows.save(made["test"].path)
        batch_predict(Artifact("model", str(graph(add=1.0))), version="7", **made)
        return made

    return run


def test_each_vm_is_forecast_from_its_latest_window(step, windows):
    some = windows(25)
    some.covariates[:] = np.nan
    made = step(some[np.random.default_rng(0).permutation(25)])
    rows = pq.read_table(made["predictions"].path).to_pylist()
    assert len(rows) == 10 * 4
    assert [row["vm_id"] for row in rows[::4]] == sorted(set(some.vm_id))
    of_vm_3 = [row for row in rows if row["vm_id"] == "vm-3"]  # windows 3, 13 and 23
    start = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=23 * 300)
    assert [row["step"] for row in of_vm_3] == [1, 2, 3, 4]
    assert [row["timestamp"] for row in of_vm_3] == [start + timedelta(seconds=300 * n) for n in (1, 2, 3, 4)]
    assert {row["origin"] for row in of_vm_3} == {start}
    assert of_vm_3[0]["forecast"] == pytest.approx(some.history[23, -1] + 1, rel=1e-5)
    assert {row["model_version"] for row in rows} == {"7"}
    assert made["metrics"].metadata == {"vms": 10, "rows": 40, "horizon_minutes": 20}


def test_no_windows_give_an_empty_table(step, windows):
    made = step(windows(10)[:0])
    assert pq.read_table(made["predictions"].path).num_rows == 0
    assert made["metrics"].metadata["vms"] == 0


def test_windows_the_model_was_not_trained_on_are_refused(step, windows, meta, tmp_path):
    with pytest.raises(InvalidGraph, match="cpu"):
        step(windows(10, dataclasses.replace(meta, target="cpu")))
    assert not (tmp_path / "predictions").exists()
