"""The prediction log: its columns, its files, and a disk that refuses them."""

import asyncio
import dataclasses
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from fleetml.serving import backends, deployment, features, predictions
from fleetml.serving.deployment import Card
from fleetml.serving.model import Model, load
from fleetml.serving.predictions import PredictionLog, Row

NOW = datetime(2026, 11, 21, 12, 30, tzinfo=UTC)
EARLIER = NOW - timedelta(hours=1)
INPUTS = {"history": np.arange(12, dtype=np.float32)[None, :], "covariates": np.full((1, 1), np.nan, np.float32)}
VALUES = np.array([11.0, 11.0], np.float32)


def row(key: str = "vm-1", version: str = "3", **changes: Any) -> Row:
    made = Row(NOW, EARLIER, key, version, "champion", "", 1.5, INPUTS, VALUES, 300)
    return dataclasses.replace(made, **changes)


@pytest.fixture
def model(graph: Callable[..., Path], tmp_path: Path) -> Model:
    deployment.install(tmp_path, Card("bandwidth", "3", ""), {deployment.GRAPH: graph()})
    deployment.point(tmp_path, "bandwidth", "3")
    return load(tmp_path, "bandwidth", deployment.read(tmp_path)["bandwidth"], backends.choose("cpu"))


def _files(root: Path) -> list[Path]:
    return sorted(root.rglob("*.parquet"))


def test_a_row_holds_the_features_of_the_request(tmp_path: Path, model: Model) -> None:
    log = PredictionLog(tmp_path)
    log.add(model, row(inputs={**INPUTS, "covariates": np.array([[30.0]], np.float32)}))
    log.add(model, row("vm-2", predictions=VALUES[:1]))
    asyncio.run(log.flush())
    (path,) = _files(tmp_path)
    assert path.relative_to(tmp_path).parts[:3] == ("predictions", "model=bandwidth", "date=2026-11-21")
    table = pq.read_table(path, partitioning=None)
    assert table.schema.names == [
        *("time", "origin", "vm_id", "model_version", "role", "rollout", "horizon", "step_seconds", "latency_ms"),
        *("failure", "history_mean", "history_last", "history_std", "cpu_usage", "predictions"),
    ]
    first, second = table.to_pylist()
    assert first == {
        **{"time": NOW, "origin": EARLIER, "vm_id": "vm-1", "model_version": "3", "role": "champion", "rollout": ""},
        **{"horizon": 2, "step_seconds": 300, "latency_ms": 1.5, "failure": "", "history_mean": 5.5},
        **{"history_last": 11.0, "history_std": pytest.approx(np.std(np.arange(12))), "cpu_usage": 30.0},
        "predictions": [11.0, 11.0],
    }
    assert (second["vm_id"], second["horizon"], second["predictions"]) == ("vm-2", 1, [11.0])


def test_a_version_that_did_not_answer_leaves_a_row_without_figures(tmp_path: Path, model: Model) -> None:
    log = PredictionLog(tmp_path)
    none = {"inputs": None, "predictions": np.empty(0), "step_seconds": 0}
    log.add(model, row(version="4", role="challenger", rollout="4-x", failure="not loaded", **none))
    asyncio.run(log.flush())
    (path,) = _files(tmp_path)
    (found,) = pq.read_table(path, partitioning=None).to_pylist()
    assert (found["model_version"], found["role"], found["rollout"]) == ("4", "challenger", "4-x")
    assert (found["failure"], found["predictions"]) == ("not loaded", [])
    assert np.isnan(found["history_mean"])


def test_a_file_is_filled_before_the_next_is_begun(
    tmp_path: Path, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predictions, "ROWS_PER_FILE", 3)
    log = PredictionLog(tmp_path)
    for _ in range(4):
        log.add(model, row())
        asyncio.run(log.flush())
    assert sorted(pq.read_metadata(path).num_rows for path in _files(tmp_path)) == [1, 3]
    assert not list((tmp_path / "predictions").rglob(".*"))


def test_what_is_being_written_does_not_look_like_a_finished_file(
    tmp_path: Path, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[Path]] = []

    def write(table: Any, path: Path, **options: Any) -> None:
        pq.write_table(table, path, **options)
        seen.append(_files(tmp_path))

    monkeypatch.setattr(predictions, "pq", SimpleNamespace(write_table=write))
    log = PredictionLog(tmp_path)
    log.add(model, row())
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
        log.add(model, row(vm))
    asyncio.run(log.flush())
    assert "2 predictions of bandwidth could not be logged yet" in caplog.text
    assert log.lost == 1
    (tmp_path / "predictions").unlink()
    asyncio.run(log.flush())
    (path,) = _files(tmp_path)
    assert pq.read_table(path, partitioning=None)["vm_id"].to_pylist() == ["vm-2", "vm-3"]


def test_while_a_write_hangs_and_then_fails_the_latest_rows_are_kept(
    tmp_path: Path, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predictions, "BUFFERED_ROWS", 2)
    began, go_on = threading.Event(), threading.Event()
    write = pq.write_table

    def hang(*args: object, **kwargs: object) -> None:
        first = not began.is_set()
        began.set()
        assert go_on.wait(60)
        if first:
            raise OSError("stale file handle")
        write(*args, **kwargs)

    monkeypatch.setattr(predictions, "pq", SimpleNamespace(write_table=hang))

    async def ask() -> tuple[int, int]:
        log = PredictionLog(tmp_path)
        log.add(model, row("vm-0"))
        hanging = asyncio.create_task(log.flush())
        await asyncio.to_thread(began.wait, 60)
        for number in range(1, 6):
            log.add(model, row(f"vm-{number}"))
        meanwhile = log.lost
        go_on.set()
        await hanging
        await log.flush()
        return meanwhile, log.lost

    assert asyncio.run(ask()) == (3, 4)
    (path,) = _files(tmp_path)
    assert pq.read_table(path, partitioning=None)["vm_id"].to_pylist() == ["vm-4", "vm-5"]


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
            log.add(model, row(version=version))
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
