"""Deploy against a real server: what is served afterwards, after success and after each kind of failure."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from components.deploy import deploy as stage
from components.deploy import smoke
from fleetml.component import Artifact
from fleetml.errors import ConfigurationError, FleetMLError, InvalidData, InvalidParameter, StepFailed, Unavailable
from fleetml.learn.forecaster import Forecaster
from fleetml.learn.windows import Meta, Windows
from fleetml.serving import deployment
from fleetml.serving.client import Client
from fleetml.serving.registry import Entry, Registry
from fleetml.stack.processes import wait_until


class Stage:
    """The deploy step with its inputs in one folder."""

    def __init__(self, folder: Path, test: Windows, train: Windows) -> None:
        self.folder, self.root = folder, folder / "serving"
        self.metrics = Artifact("metrics", str(folder / "metrics"))
        test.save(folder / "test.parquet")
        train.save(folder / "train.parquet")

    def deploy(
        self,
        graph: Path,
        version: str,
        address: str = "",
        registry: str = "",
        name: str = "bandwidth",
        rollout: str = "",
    ) -> str:
        returned = stage.deploy(
            model=Artifact("model", str(graph), metadata={"family": "test"}),
            test=Artifact("test", str(self.folder / "test.parquet")),
            train=Artifact("train", str(self.folder / "train.parquet")),
            metrics=self.metrics,
            model_name=name,
            version=version,
            serving_dir=str(self.root),
            address=address,
            registry=registry,
            rollout=rollout,
        )
        return str(returned["endpoint"])

    def served(self) -> str:
        return deployment.read(self.root)["bandwidth"].version


@pytest.fixture
def step(tmp_path: Path, windows: Callable[..., Windows]) -> Stage:
    (tmp_path / "serving").mkdir()
    return Stage(tmp_path, windows(20, seed=1), windows(50))


def test_a_running_server_serves_the_version_when_the_step_ends(
    step: Stage, graph: Callable[..., Path], serve: Callable[..., str]
) -> None:
    address = serve(step.root)
    assert step.deploy(graph(), "1", address) == address
    assert list(step.metrics.metadata)[:3] == ["grpc_ms_p50", "grpc_ms_p99", "swap_seconds"]
    assert step.deploy(graph(add=5), "2", address) == address
    with Client(address) as client:
        answer = client.predict_bandwidth("vm-1", [1.0] * 12, 5)
    assert (answer.values, answer.model_version) == ((6.0,), "2")
    assert answer.confidence == pytest.approx(1 / (1 + step.metrics.metadata["held_out_mase"]))
    assert deployment.read(step.root)["bandwidth"].previous == "1"
    assert not list(step.root.rglob("predictions/**/*.parquet"))  # its own questions are no traffic


def test_without_a_server_one_of_its_own_is_asked_and_ended(step: Stage, graph: Callable[..., Path]) -> None:
    assert step.deploy(graph(), "1").startswith("not running; start it: python -m fleetml.serving --dir")
    assert step.served() == "1"
    assert step.metrics.metadata["grpc_ms_p50"] > 0
    assert deployment.status(step.root) == {}


def test_a_model_of_another_target_is_asked_by_its_name(
    tmp_path: Path, graph: Callable[..., Path], windows: Callable[..., Windows], serve: Callable[..., str]
) -> None:
    meta = Meta("cpu", context=12, horizon=4, season=6)
    step = Stage(tmp_path, windows(5, meta=meta), windows(5, meta=meta))
    address = serve(step.root)
    step.deploy(graph(meta=meta), "1", address, name="cpu")
    with Client(address) as client:
        assert client.forecast("cpu", "vm-1", [1.0] * 12, 5).values == (1.0,)
    with pytest.raises(InvalidData, match="forecasts cpu"):
        step.deploy(graph(meta=meta), "2", address, name="bandwidth")


def test_the_reference_holds_the_training_windows_features(step: Stage, graph: Callable[..., Path]) -> None:
    step.deploy(graph(), "1")
    reference = pq.read_table(step.root / "models/bandwidth/1/reference.parquet")
    own = ["history_mean", "history_last", "history_std", "cpu_usage", "forecast"]
    assert reference.schema.names == ["vm_id", "origin", *own]
    assert reference.num_rows == 50


def test_a_refused_graph_leaves_the_old_version_and_the_old_champion(
    step: Stage, graph: Callable[..., Path], serve: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    address = serve(step.root)
    registry = Registry(f"sqlite:///{step.folder}/registry/mlflow.db")
    first, second = graph(), graph(add=1, name="second.onnx")
    for path in (first, second):
        registry.add("bandwidth", Entry(path, "run", {}, {}, {}, {}))
    step.deploy(first, "1", address, registry.uri)
    monkeypatch.setattr("fleetml.serving.forecast.try_out", _refuse)
    with pytest.raises(StepFailed, match="server refused bandwidth version 2: not today"):
        step.deploy(second, "2", address, registry.uri)
    assert step.served() == "1"
    assert registry.champion("bandwidth") == "1"
    with Client(address) as client:
        assert client.predict_bandwidth("vm-1", [1.0] * 12, 5).model_version == "1"


def test_a_version_that_is_deployed_after_all_is_the_champion_again(
    step: Stage, graph: Callable[..., Path], serve: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = Registry(f"sqlite:///{step.folder}/registry/mlflow.db")
    for path in (graph(), graph(add=1, name="second.onnx")):
        registry.add("bandwidth", Entry(path, "run", {}, {}, {}, {}))
    with monkeypatch.context() as impatient:
        impatient.setattr(smoke, "SWAP_SECONDS", 0.2)
        with pytest.raises(Unavailable):
            step.deploy(graph(add=1), "2", "127.0.0.1:1", registry.uri)
    assert registry.champion("bandwidth") == "1"
    step.deploy(graph(add=1), "2", serve(step.root), registry.uri)  # what `fleetml resume` does
    assert (step.served(), registry.champion("bandwidth")) == ("2", "2")
    assert registry.demote("bandwidth", "2") == "1"


def _refuse(*_: Any) -> None:
    raise FleetMLError("not today")


def test_an_answer_that_is_not_the_graphs_own_is_a_failure(
    step: Stage, graph: Callable[..., Path], serve: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    address = serve(step.root)
    step.deploy(graph(), "1", address)
    own = Forecaster.forecast
    monkeypatch.setattr(Forecaster, "forecast", lambda self, windows: own(self, windows) * 1.01)
    with pytest.raises(StepFailed, match="served and own forecast of bandwidth version 2 may differ"):
        step.deploy(graph(add=1), "2", address)
    assert step.served() == "1"


def test_a_first_version_that_fails_is_taken_away(
    step: Stage, graph: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(smoke, "SWAP_SECONDS", 0.2)
    with pytest.raises(Unavailable, match=r"nobody answers there; start it"):
        step.deploy(graph(), "1", "127.0.0.1:1")
    assert deployment.read(step.root) == {}


def test_a_server_that_watches_another_folder_is_named(
    step: Stage, tmp_path: Path, graph: Callable[..., Path], serve: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(smoke, "SWAP_SECONDS", 0.5)
    with pytest.raises(Unavailable, match="last said to be watched by nobody"):
        step.deploy(graph(), "1", serve(tmp_path / "elsewhere"))


def test_a_dead_registry_does_not_hide_why_deploy_failed(
    step: Stage, graph: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(smoke, "SWAP_SECONDS", 0.2)
    monkeypatch.setattr(Registry, "promote", lambda *_: None)
    monkeypatch.setattr(Registry, "demote", lambda *_: 1 / 0)  # it died in between, in words of its own
    with pytest.raises(Unavailable, match="nobody answers") as failed:
        step.deploy(graph(), "1", "127.0.0.1:1", "http://127.0.0.1:1")
    assert "still calls version 1 the champion" in failed.value.__notes__[0]


def test_a_step_that_is_stopped_points_back(step: Stage, graph: Callable[..., Path]) -> None:
    """Nobody answers at the address, so the step waits with the pointer at a version that was never tried."""
    files = {"model": graph(), "test": step.folder / "test.parquet", "train": step.folder / "train.parquet"}
    given = {"model_name": "bandwidth", "version": "1", "serving_dir": str(step.root), "address": "127.0.0.1:1"}
    made = {"metrics": {"artifacts": [{"name": "metrics", "uri": str(step.folder / "metrics")}]}}
    document = {
        "inputs": {
            "parameterValues": {**given, "registry": ""},
            "artifacts": {name: {"artifacts": [{"name": name, "uri": str(file)}]} for name, file in files.items()},
        },
        "outputs": {"artifacts": made, "parameters": {}, "outputFile": str(step.folder / "executor_output.json")},
    }
    command = [sys.executable, "-m", "fleetml.component", "components.deploy.deploy:deploy", json.dumps(document)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        assert wait_until(lambda: process.poll() is not None or bool(deployment.read(step.root)), 60, 0.02)
        process.terminate()
        assert process.wait(60) != 0
    assert deployment.read(step.root) == {}


def test_what_is_missing_is_asked_for(step: Stage, graph: Callable[..., Path]) -> None:
    with pytest.raises(ConfigurationError, match="bandwidth has no version 7; register it first"):
        step.deploy(graph(), "7", registry=f"sqlite:///{step.folder}/registry/mlflow.db")
    assert deployment.read(step.root) == {}
    with pytest.raises(ConfigurationError, match="needs serving_dir and version"):
        step.deploy(graph(), "")
    with pytest.raises(InvalidParameter, match="letters, digits"):
        step.deploy(graph(), "../2")


def test_held_out_mase_scores_what_can_be_scored(graph: Callable[..., Path], windows: Callable[..., Windows]) -> None:
    made = windows(4)
    forecaster = Forecaster(graph())
    target = forecaster.forecast(made) + made.scale[:, None] * np.array([[1], [2], [50], [50]], np.float32)
    target[2] = np.nan
    scored = replace(made, target=target, scale=np.where(np.arange(4) == 3, 0, made.scale).astype(np.float32))
    assert stage.held_out_mase(forecaster, scored) == pytest.approx(1.5, rel=1e-4)
    assert stage.held_out_mase(forecaster, scored[2:]) is None


def test_the_card_is_json_without_nan(step: Stage, graph: Callable[..., Path], windows: Callable[..., Windows]) -> None:
    unscored = windows(5)
    replace(unscored, scale=np.zeros(5, np.float32)).save(step.folder / "test.parquet")
    step.deploy(graph(), "1")
    card = json.loads((step.root / "models/bandwidth/1/model.json").read_text())
    assert (card["mase"], card["metadata"]) == (None, {"family": "test"})
    assert step.metrics.metadata["confidence"] == 0.0
