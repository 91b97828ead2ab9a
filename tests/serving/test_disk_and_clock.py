"""What surrounds a server goes wrong: the log's disk is full, the clock jumps, features are old; it answers on."""

import json
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import polars as pl
import pyarrow.dataset as ds
import pytest

from components.features.materialise import materialise
from feature_repo.definitions import TTL
from fleetml.component import Artifact
from fleetml.serving import deployment, inference
from fleetml.serving.deployment import Card
from fleetml.serving.options import Limits
from fleetml.stack.processes import wait_until
from fleetml_client import BandwidthQuestion, Client, Overloaded

HISTORY = [float(value) for value in range(12)]
ASK = BandwidthQuestion("vm-1", HISTORY, 5)


@pytest.fixture
def root(tmp_path: Path, graph: Callable[..., Path]) -> Path:
    path, folder = graph(), tmp_path / "serving"
    deployment.install(folder, Card("bandwidth", "1", deployment.digest(path)), {deployment.GRAPH: path})
    deployment.point(folder, "bandwidth", "1")
    return folder


def figure(root: Path, name: str) -> float:
    with urllib.request.urlopen(f"http://{deployment.status(root)['http']}/metrics", timeout=60) as said:
        lines = said.read().decode().splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith(name))


def test_a_full_disk_costs_rows_of_the_log_which_are_counted_and_no_answer(root: Path) -> None:
    log = root / deployment.PREDICTIONS
    log.mkdir()
    full = f'mount -t tmpfs -o size=16k none {log} && dd if=/dev/zero of={log}/filler bs=1k count=64; exec "$@"'
    if not shutil.which("unshare") or subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode:
        pytest.skip("needs to mount a small file system (root, unshare)")
    command = ["unshare", "-m", "sh", "-c", full, "sh", sys.executable, "-m", "fleetml.serving", "--dir", str(root)]
    with subprocess.Popen([*command, "--port", "0"], stderr=subprocess.PIPE, text=True) as server:
        try:
            assert wait_until(lambda: bool(deployment.status(root).get("models")), 120, 0.05)
            with Client(deployment.status(root)["address"], 60) as client:

                def lost() -> bool:
                    assert {one.values for one in client.predict_bandwidth_batch([ASK] * 8000)} == {(11.0,)}
                    return figure(root, "prediction_log_rows_lost_total") > 0

                assert wait_until(lost, 120, 0.05)
                assert client.predict_bandwidth("vm-1", HISTORY, 5).values == (11.0,)
        finally:
            server.terminate()
            _, said = server.communicate(timeout=120)
    assert "No space left on device" in said
    assert server.returncode == 0


def test_what_could_not_be_told_is_told_once_it_can_be(root: Path, serve: Callable[..., str]) -> None:
    (root / deployment.STATUS).mkdir()  # as little to be written as a file on a full disk
    with Client(serve(root)) as client:
        assert client.predict_bandwidth("vm-1", HISTORY, 5).model_version == "1"
        (root / deployment.STATUS).rmdir()
        assert wait_until(lambda: "bandwidth" in deployment.status(root).get("models", {}), 60, 0.05)


def test_a_clock_that_jumps_costs_nothing(
    root: Path, serve: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = {"shift": timedelta(0)}

    class Jumping(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:  # type: ignore[override]
            return datetime.now(tz) + clock["shift"]

    monkeypatch.setattr(inference, "datetime", Jumping)
    today, log = datetime.now(UTC), root / deployment.PREDICTIONS

    def logged() -> list[dict[str, Any]]:
        files = list(log.rglob("*.parquet"))
        return ds.dataset(files, partitioning="hive").to_table().to_pylist() if files else []

    with Client(serve(root, limits=Limits(cache_entries=10, client_rate=1000.0)), 60) as client:
        for days in (0, 400, -400, 0):
            clock["shift"] = timedelta(days=days)
            assert client.predict_bandwidth("vm-1", HISTORY, 5).values == (11.0,)
        assert wait_until(lambda: len(logged()) == 4, 60, 0.05)
    rows = logged()
    assert sorted(round((row["time"] - today).total_seconds() / 86400) for row in rows) == [-400, 0, 0, 400]
    assert all(0 < row["latency_ms"] < 60_000 for row in rows)
    dates = {path.name for path in log.glob("model=bandwidth/*")}
    assert dates == {f"date={row['time']:%Y-%m-%d}" for row in rows}


def test_features_that_are_too_old_or_of_a_stranger_are_absent(
    tmp_path: Path, root: Path, serve: Callable[..., str]
) -> None:
    hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    columns = {"vm_id": ["vm-1"], "event_timestamp": [hour], "host": ["h"], "region": ["r"], "cpu_usage": [30.0]}
    others = {name: [0.0] for name in ("memory_usage", "disk_io", "network_io", "latency", "error_rate")}
    table = pl.DataFrame(columns | others).cast({"event_timestamp": pl.Datetime("us", "UTC")})
    table.write_parquet(tmp_path / "features")
    materialise(Artifact("features", str(tmp_path / "features")), Artifact("metrics", ""), str(tmp_path / "store"))
    with Client(serve(root, feature_store=tmp_path / "store"), 60) as client:
        asked = [("vm-1", hour + TTL), ("vm-1", hour + TTL + timedelta(seconds=1)), ("stranger", hour)]
        answers = [client.predict_bandwidth(vm, [1.0] * 12, 5, as_of=at).values for vm, at in asked]
    assert answers == [(31.0,), (1.0,), (1.0,)]


def test_a_huge_batch_is_answered_or_refused_whole(root: Path, serve: Callable[..., str]) -> None:
    with Client(serve(root), 120) as client:
        answers = client.predict_bandwidth_batch([ASK] * 50_000)
        assert (len(answers), {answer.values for answer in answers}) == (50_000, {(11.0,)})
        with pytest.raises(Overloaded, match="larger than max") as refused:
            client.predict_bandwidth_batch([ASK] * 150_000)
        assert refused.value.code is grpc.StatusCode.RESOURCE_EXHAUSTED
        body = {"requests": [{"vm_id": "vm-1", "historical_metrics": HISTORY, "horizon_minutes": 5}] * 20_000}
        request = urllib.request.Request(
            f"http://{deployment.status(root)['http']}/api/v1/predict/batch", json.dumps(body).encode(), method="POST"
        )
        with urllib.request.urlopen(request, timeout=120) as answer:
            assert len(json.load(answer)["responses"]) == 20_000
        assert client.predict_bandwidth("vm-1", HISTORY, 5).values == (11.0,)
