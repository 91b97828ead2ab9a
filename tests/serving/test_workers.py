"""Several processes on one port: killed under load, swapped together, counted together, ended together."""

import contextlib
import http.client
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pyarrow.dataset as ds
import pytest

from fleetml.errors import FleetMLError
from fleetml.serving import deployment, settings
from fleetml.serving.client import Client
from fleetml.serving.deployment import Card
from fleetml.serving.settings import ServerSettings
from fleetml.stack.processes import wait_until

HISTORY = [float(value) for value in range(12)]


def put(root: Path, graph: Path, version: str) -> None:
    deployment.install(root, Card("bandwidth", version, deployment.digest(graph)), {deployment.GRAPH: graph})
    deployment.point(root, "bandwidth", version)


def said(root: Path) -> dict[str, Any]:
    return deployment.status(root)


def version(root: Path) -> str:
    return str(said(root).get("models", {}).get("bandwidth", {}).get("version", ""))


def answers(address: str) -> bool:
    """Say whether a new connection is answered."""
    with Client(address) as client, contextlib.suppress(FleetMLError):
        return bool(client.predict_bandwidth("vm-1", HISTORY, 5).values)
    return False


@pytest.fixture
def root(tmp_path: Path, graph: Callable[..., Path]) -> Path:
    folder = tmp_path / "serving"
    put(folder, graph(), "1")
    return folder


@pytest.fixture
def server(root: Path) -> Iterator["subprocess.Popen[str]"]:
    command = [sys.executable, "-m", "fleetml.serving", "--dir", str(root), "--port", "0", "--workers", "2"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert wait_until(lambda: version(root) == "1", 120, 0.05)
        yield process
        process.terminate()


def test_a_killed_worker_is_back_with_the_same_versions(root: Path, server: "subprocess.Popen[str]") -> None:
    before = said(root)["workers"]
    assert len(set(before)) == 2
    os.kill(before[0], signal.SIGKILL)
    assert wait_until(lambda: before[0] not in said(root)["workers"], 60, 0.02)
    after = said(root)["workers"]
    assert before[1] in after
    (new,) = set(after) - set(before)
    assert wait_until(lambda: bool(deployment.read_status(root / f".server-{new}.json").get("models")), 60, 0.02)
    assert version(root) == "1"
    assert all(answers(said(root)["address"]) for _ in range(10))


def test_killed_under_load_the_log_loses_the_last_second_at_most(root: Path, server: "subprocess.Popen[str]") -> None:
    end, asked, workers = threading.Event(), [], said(root)["workers"]

    def ask() -> None:
        with Client(said(root)["address"]) as client:
            while not end.is_set():
                with contextlib.suppress(FleetMLError):
                    client.predict_bandwidth("vm-1", HISTORY, 5)
                    asked.append(time.time())

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()

    def logged() -> list[float]:
        files = list((root / "predictions").rglob("*.parquet"))
        return ds.dataset(files).to_table(["time"])["time"].to_pylist() if files else []

    assert wait_until(lambda: len(logged()) > 50, 120, 0.1)
    killed = time.time()
    for pid in workers:
        os.kill(pid, signal.SIGKILL)
    assert wait_until(lambda: len([moment for moment in asked if moment > killed + 0.5]) > 20, 120, 0.05)
    end.set()
    for thread in threads:
        thread.join()
    server.terminate()
    assert server.wait(60) == 0
    found = [moment.timestamp() for moment in logged()]
    # A flush begins each second and takes its time on a busy machine: what came well before it must be there
    for low, high in ((min(asked), killed - 5), (killed + 0.5, max(asked) + 1)):
        wanted = [moment for moment in asked if low <= moment < high]
        assert len([moment for moment in found if low - 1 <= moment < high]) >= len(wanted) * 0.99


def test_all_swap_before_a_version_counts_as_loaded_and_are_counted_together(
    root: Path, server: "subprocess.Popen[str]", graph: Callable[..., Path]
) -> None:
    put(root, graph(add=1, name="second.onnx"), "2")
    assert wait_until(lambda: version(root) == "2", 60, 0.02)
    for _ in range(20):  # each by a new connection, so by either worker
        with Client(said(root)["address"]) as client:
            assert client.predict_bandwidth("vm-1", HISTORY, 5).model_version == "2"
    connection = http.client.HTTPConnection(said(root)["http"], timeout=60)
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    assert 'model_prediction_latency_seconds_count{model="bandwidth",role="champion",version="2"} 20.0' in text
    broken = root / "broken.onnx"
    broken.write_bytes(b"no graph")
    put(root, broken, "3")
    assert wait_until(lambda: said(root)["refused"].get("bandwidth", {}).get("version") == "3", 60, 0.02)
    assert version(root) == "2"


def test_the_end_leaves_no_process_and_no_word(root: Path, server: "subprocess.Popen[str]") -> None:
    processes = [psutil.Process(server.pid), *psutil.Process(server.pid).children(recursive=True)]
    assert len(processes) >= 3
    server.terminate()
    assert server.wait(60) == 0
    assert wait_until(lambda: not any(process.is_running() for process in processes), 60, 0.05)
    assert said(root) == {}
    assert not list(root.glob(".server-*"))


def test_workers_end_with_a_supervisor_that_was_killed(root: Path, server: "subprocess.Popen[str]") -> None:
    workers = [psutil.Process(pid) for pid in said(root)["workers"]]
    server.kill()
    assert wait_until(lambda: not any(worker.is_running() for worker in workers), 60, 0.05)


def test_a_port_that_is_taken_is_said(root: Path, server: "subprocess.Popen[str]", tmp_path: Path) -> None:
    port = said(root)["address"].rpartition(":")[2]
    for more in (["--workers", "2"], []):
        command = [sys.executable, "-m", "fleetml.serving", "--dir", str(tmp_path / "other"), "--port", port, *more]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        assert done.returncode == 1
        assert f"127.0.0.1:{port} for itself" in done.stderr


@pytest.fixture
def alone(root: Path) -> Iterator["subprocess.Popen[str]"]:
    """A server as the stack runs it: one worker, settings that it follows."""
    command = [sys.executable, "-m", "fleetml.serving", "--dir", str(root), "--port", "0"]
    with subprocess.Popen(
        [*command, "--settings", str(root / settings.FILE)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert wait_until(lambda: version(root) == "1", 120, 0.05)
        yield process
        process.terminate()


@pytest.mark.parametrize("killed", ["supervisor", "worker", "both"])
def test_a_single_server_that_is_killed_is_back_with_the_same_versions(
    root: Path, alone: "subprocess.Popen[str]", killed: str
) -> None:
    before = said(root)
    pids = {"supervisor": [before["pid"]], "worker": before["workers"], "both": [before["pid"], *before["workers"]]}
    for pid in pids[killed]:
        os.kill(pid, signal.SIGKILL)
    assert wait_until(
        lambda: said(root).get("models") and not {*before["workers"]} & {*said(root)["workers"]}, 60, 0.02
    )
    after = said(root)
    assert (after["models"], after["address"], after["http"]) == (before["models"], before["address"], before["http"])
    assert (after["pid"] == before["pid"]) == (killed == "worker")
    assert all(answers(after["address"]) for _ in range(5))
    alone.terminate()
    assert alone.wait(60) == 0
    assert said(root) == {}


def test_new_settings_are_taken_over_without_a_dropped_request(root: Path, alone: "subprocess.Popen[str]") -> None:
    end, failed, asked = threading.Event(), [], []

    def ask() -> None:
        with Client(said(root)["address"], timeout=60) as client:
            while not end.is_set():
                try:
                    client.predict_bandwidth("vm-1", HISTORY, 5)
                    asked.append(1)
                except FleetMLError as error:
                    failed.append(str(error))

    before = said(root)
    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    settings.write(root / settings.FILE, ServerSettings(workers=2, log_share=0.5))
    assert wait_until(lambda: (said(root).get("settings") or {}).get("workers") == 2, 60, 0.02)
    after, so_far = said(root), len(asked)
    assert wait_until(lambda: len(asked) > so_far + 50, 60, 0.02)
    assert wait_until(lambda: not psutil.pid_exists(before["workers"][0]), 60, 0.02)
    end.set()
    for thread in threads:
        thread.join()
    assert failed == []
    assert len(after["workers"]) == 2
    assert not {*before["workers"]} & {*after["workers"]}
    assert (after["pid"], after["address"]) == (before["pid"], before["address"])
    settings.write(root / settings.FILE, None)
    assert wait_until(lambda: len(said(root)["workers"]) == 1, 60, 0.02)


def test_settings_that_no_server_starts_with_are_refused_and_the_old_ones_stay(
    root: Path, alone: "subprocess.Popen[str]"
) -> None:
    before = said(root)
    settings.write(root / settings.FILE, ServerSettings(backend="nonsense"))
    assert wait_until(lambda: said(root)["settings_refused"], 60, 0.02)
    refused = said(root)
    assert refused["settings_refused"]["settings"]["backend"] == "nonsense"
    assert (refused["workers"], refused["settings"]) == (before["workers"], None)
    (root / settings.FILE).write_text("{")
    settings.write(root / settings.FILE, ServerSettings(batch_rows=3))
    assert wait_until(lambda: (said(root)["settings"] or {}).get("batch_rows") == 3, 60, 0.02)
    assert answers(said(root)["address"])


def test_two_servers_on_one_folder_tell_each_in_a_folder_of_its_own(root: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "fleetml.serving", "--dir", str(root), "--port", "0", "--status-dir"]
    places = [tmp_path / "pods" / name for name in ("a", "b")]
    pods = [subprocess.Popen([*command, str(place)], stdout=subprocess.DEVNULL) for place in places]
    try:
        assert wait_until(lambda: all(version(place) == "1" for place in places), 120, 0.05)
        assert said(root) == {}
        assert len({said(place)["address"] for place in places}) == 2
        assert all(answers(said(place)["address"]) for place in places)
    finally:
        for pod in pods:
            pod.terminate()
    assert [pod.wait(60) for pod in pods] == [0, 0]
    assert not any(list(place.iterdir()) for place in places)
