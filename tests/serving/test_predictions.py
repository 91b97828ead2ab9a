"""The prediction log: its columns, its files, and a disk that refuses them."""

import asyncio
import dataclasses
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from fleetml.learn.forecaster import Forecaster
from fleetml.serving import features, predictions
from fleetml.serving.deployment import Deployed
from fleetml.serving.model import Model
from fleetml.serving.predictions import PredictionLog

HISTORY = np.arange(12, dtype=np.float32)[None, :]
ABSENT = np.full((1, 1), np.nan, np.float32)


@pytest.fixture
def model(graph: Callable[..., Path]) -> Model:
    return Model("bandwidth", Deployed("3", "", ""), Forecaster(graph()), 0.5)


def _files(root: Path) -> list[Path]:
    return sorted(root.rglob("*.parquet"))


def test_a_row_holds_the_features_of_the_request(tmp_path: Path, model: Model) -> None:
    log = PredictionLog(tmp_path)
    log.add(model, "vm-1", HISTORY, np.array([[30.0]], np.float32), np.array([11.0, 11.0], np.float32))
    log.add(model, "vm-2", HISTORY, ABSENT, np.array([11.0], np.float32))
    asyncio.run(log.flush())
    (path,) = _files(tmp_path)
    assert path.relative_to(tmp_path).parts[:2] == ("predictions", "model=bandwidth")
    table = pq.read_table(path, partitioning=None)
    assert table.schema.names == [
        *("time", "vm_id", "model_version", "horizon", "history_mean", "history_last", "history_std"),
        *("cpu_usage", "predictions"),
    ]
    row = table.to_pylist()[0]
    assert (row["vm_id"], row["model_version"], row["horizon"], row["cpu_usage"]) == ("vm-1", "3", 2, 30.0)
    assert (row["history_mean"], row["history_last"], row["predictions"]) == (5.5, 11.0, [11.0, 11.0])
    assert row["history_std"] == pytest.approx(np.std(np.arange(12)))
    assert f"date={row['time'].date()}" in str(path)


def test_a_file_is_filled_before_the_next_is_begun(
    tmp_path: Path, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predictions, "ROWS_PER_FILE", 3)
    log = PredictionLog(tmp_path)
    for _ in range(4):
        log.add(model, "vm-1", HISTORY, ABSENT, HISTORY[0])
        asyncio.run(log.flush())
    assert sorted(pq.read_metadata(path).num_rows for path in _files(tmp_path)) == [1, 3]
    assert not list(tmp_path.rglob(".*"))


def test_what_is_being_written_does_not_look_like_a_finished_file(
    tmp_path: Path, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[Path]] = []

    def write(table: Any, path: Path, **options: Any) -> None:
        pq.write_table(table, path, **options)
        seen.append(_files(tmp_path))

    monkeypatch.setattr(predictions, "pq", SimpleNamespace(write_table=write))
    log = PredictionLog(tmp_path)
    log.add(model, "vm-1", HISTORY, ABSENT, HISTORY[0])
    asyncio.run(log.flush())
    assert seen == [[]]
    assert len(_files(tmp_path)) == 1


def test_what_the_disk_refuses_is_kept_up_to_a_limit(
    tmp_path: Path, model: Model, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(predictions, "BUFFERED_ROWS", 2)
    log = PredictionLog(tmp_path)
    (tmp_path / "predictions").write_text("in the way")
    for vm in ("vm-1", "vm-2", "vm-3"):
        log.add(model, vm, HISTORY, ABSENT, HISTORY[0])
    asyncio.run(log.flush())
    assert "3 predictions of bandwidth could not be logged yet" in caplog.text
    (tmp_path / "predictions").unlink()
    asyncio.run(log.flush())
    (path,) = _files(tmp_path)
    assert pq.read_table(path, partitioning=None)["vm_id"].to_pylist() == ["vm-2", "vm-3"]


def test_an_end_in_the_middle_of_a_flush_loses_nothing(
    tmp_path: Path, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predictions, "FLUSH_SECONDS", 0.0)
    began, go_on = threading.Event(), threading.Event()
    write = pq.write_table

    def slow(*args: object, **kwargs: object) -> None:
        began.set()
        assert go_on.wait(30)
        write(*args, **kwargs)

    monkeypatch.setattr(predictions.pq, "write_table", slow)

    async def end() -> None:
        log = PredictionLog(tmp_path)
        for version in ("3", "4", "5"):
            served = dataclasses.replace(model, deployed=Deployed(version, "", ""))
            log.add(served, f"vm-{version}", HISTORY, ABSENT, HISTORY[0])
        running = asyncio.create_task(log.run())
        await asyncio.to_thread(began.wait, 30)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        asyncio.get_running_loop().call_soon(go_on.set)
        await log.flush()

    asyncio.run(end())
    assert [path.name[0] for path in _files(tmp_path)] == ["3", "4", "5"]


def test_features_of_two_views_keep_their_names_apart() -> None:
    assert features.columns(["a:cpu", "b:cpu", "b:memory"])[3:] == ["a:cpu", "b:cpu", "memory"]
