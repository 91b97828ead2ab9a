"""The registry on real MLflow with SQLite: champions, lineage, the way back."""

import json
import os
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import mlflow
import onnx
import pytest

from components.register import register as stage
from fleetml.component import Artifact
from fleetml.cost.estimate import Cost
from fleetml.errors import ConfigurationError, InvalidData, InvalidParameter, Unavailable
from fleetml.frozen import asdict
from fleetml.learn.windows import Windows
from fleetml.records import Attempt, Run
from fleetml.serving import aliases, provenance
from fleetml.serving.registry import Registry
from fleetml.stack import ports
from fleetml.stack.processes import wait_until

SCORES = {
    "target": "bandwidth",
    "windows": 6,
    "horizon": 4,
    "step_seconds": 300,
    "candidates": {
        "automl": {
            "family": "linear",
            "mase": 0.8,
            "mae": 12.0,
            "per_vm": {},
            "size_bytes": 900,
            "latency_ms_p99": 0.1,
        },
        "seasonal_naive": {"family": "seasonal_naive", "mase": 1.0, "mae": 15.0, "per_vm": {}},
    },
    "champion_version": "",
}


class Files:
    """The inputs of register, and a way to call it."""

    def __init__(self, folder: Path, graph: Path, windows: Windows) -> None:
        self.folder, self.graph = folder, graph
        windows.save(folder / "train.parquet")
        (folder / "scores").write_text(json.dumps(SCORES))

    def artifact(self, name: str, path: Path, **metadata: Any) -> Artifact:
        return Artifact(name, str(path), metadata=metadata)

    def register(
        self, registry: str, run_id: str = "run-1", rollout: str = "", results: str = ""
    ) -> tuple[str, Artifact]:
        metrics = self.artifact("metrics", self.folder / "metrics")
        train = self.artifact("train", self.folder / "train.parquet", windows=40)
        returned = stage.register(
            model=self.artifact(
                "model", self.graph, candidate="automl", family="linear", hyperparameters={"alpha": 0.1, "a b?": [1]}
            ),
            scores=self.artifact("scores", self.folder / "scores"),
            data=train,
            train=train,
            metrics=metrics,
            registry=registry,
            model_name="bandwidth",
            run_id=run_id,
            rollout=rollout,
            results=results,
        )
        return returned["version"], metrics

    def champion(self, registry: str) -> tuple[str, Artifact]:
        model = self.artifact("model", self.folder / "champion.onnx")
        returned = stage.champion(model, self.artifact("metrics", self.folder / "m"), registry, "bandwidth")
        return returned["version"], model


@pytest.fixture
def files(tmp_path: Path, graph: Callable[..., Path], windows: Callable[..., Windows]) -> Files:
    return Files(tmp_path, graph(), windows())


@pytest.fixture(params=["sqlite", "http"])
def registry(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A registry in a folder with a space: the database itself, and a server on such a database."""
    folder = tmp_path / "a registry"
    database = f"sqlite:///{folder}/mlflow.db"
    if request.param == "sqlite":
        yield database
        return
    folder.mkdir()
    port = ports.free()
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", database, "--no-serve-artifacts"]
    command += ["--default-artifact-root", (folder / "artifacts").as_uri()]
    quiet = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"

    def answers() -> bool:
        try:
            return bool(urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1).status == 200)
        except OSError:
            return False

    with subprocess.Popen(command, env={**os.environ, **quiet, "PATH": path}, stderr=subprocess.DEVNULL) as server:
        try:
            assert wait_until(lambda: answers() or server.poll() is not None, 120)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()


def test_without_a_champion_the_model_is_empty_and_nothing_is_made(files: Files, tmp_path: Path) -> None:
    version, model = files.champion(f"sqlite:///{tmp_path}/none/mlflow.db")
    assert version == ""
    assert model.path.read_bytes() == b""
    assert model.metadata == {"absent": True, "model_name": "bandwidth"}
    assert not (tmp_path / "none").exists()


def test_a_registered_model_is_the_champion_byte_for_byte(files: Files, registry: str) -> None:
    # the same model, but not in the bytes that onnx would write
    files.graph.write_bytes(onnx.ModelProto(doc_string="x").SerializeToString() + files.graph.read_bytes())
    assert files.champion(registry)[0] == ""
    assert files.register(registry)[0] == "1"
    version, model = files.champion(registry)
    assert version == "1"
    assert model.path.read_bytes() == files.graph.read_bytes()
    assert (model.metadata["version"], model.metadata["hyperparameters"]) == ("1", {"alpha": 0.1, "a b?": [1]})

    second, metrics = files.register(registry, "run-2")
    assert second == "2"
    assert list(metrics.metadata)[:3] == ["version", "replaces", "model"]
    assert files.champion(registry)[0] == "2"

    known = Registry(registry)
    assert known.demote("bandwidth", "1") == "2"  # not the champion: nothing to take
    assert known.demote("bandwidth", "2") == "1"
    assert known.demote("bandwidth", "1") == ""
    assert files.champion(registry)[0] == ""


def test_a_version_can_be_traced_to_data_code_parameters_and_run(files: Files, tmp_path: Path) -> None:
    from mlflow import MlflowClient

    uri = f"sqlite:///{tmp_path}/registry/mlflow.db"
    files.register(uri, "train-2026")
    client = MlflowClient(uri, uri)
    found = client.get_model_version_by_alias("bandwidth", "champion")
    run = client.get_run(found.run_id)
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "train-2026"
    assert found.tags["fleetml.run_id"] == "train-2026"
    assert found.tags["fleetml.data_rows"] == "40"
    assert found.tags["fleetml.code_sha256"] == stage.code_digest()
    assert len(found.tags["fleetml.data_sha256"]) == 64
    assert run.data.params["hyperparameter.alpha"] == "0.1"
    assert run.data.params["hyperparameter.a b_"] == "[1]"
    assert run.data.metrics["mase.automl"] == 0.8
    assert run.data.metrics["mase.seasonal_naive"] == 1.0
    assert (run.data.metrics["mase"], found.tags["fleetml.candidate"]) == (0.8, "automl")
    assert {i.dataset.name for i in run.inputs.dataset_inputs} == {"data", "train"}
    scores = tmp_path / "registry/artifacts" / found.run_id / "artifacts/scores.json"
    assert json.loads(scores.read_text()) == SCORES


def test_mlflow_loads_the_champion_as_an_onnx_model(files: Files, tmp_path: Path) -> None:
    import mlflow

    uri = f"sqlite:///{tmp_path}/registry/mlflow.db"
    files.register(uri)
    mlflow.set_tracking_uri(uri)
    loaded = mlflow.onnx.load_model("models:/bandwidth@champion")
    assert [output.name for output in loaded.graph.output] == ["forecast"]


def test_a_registration_that_fails_leaves_no_version(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    uri = f"sqlite:///{tmp_path}/registry/mlflow.db"
    files.graph.write_bytes(b"no graph")
    with pytest.raises(Exception, match="pars"):
        files.register(uri)
    client = MlflowClient(uri, uri)
    assert client.search_registered_models() == []
    (run,) = client.search_runs([client.get_experiment_by_name("bandwidth").experiment_id])
    assert run.info.status == "FAILED"


def test_a_registry_that_does_not_answer_is_said(files: Files) -> None:
    with pytest.raises(Unavailable, match=r"registry must answer at http://127\.0\.0\.1:1"):
        files.champion("http://127.0.0.1:1")


@pytest.mark.parametrize(
    "uri", ["", "nonsense://x", "/some/folder", "sqlite:///mlflow.db", "mysql://me:s3cret@host/db"]
)
def test_a_registry_that_cannot_be_one_is_refused_and_not_taken_for_an_empty_one(files: Files, uri: str) -> None:
    with pytest.raises(ConfigurationError, match="needs a URI") as refused:
        files.champion(uri)
    assert "s3cret" not in str(refused.value)


def test_a_server_that_is_no_mlflow_is_said(files: Files) -> None:
    class Stranger(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(401)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Stranger) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with pytest.raises(Unavailable, match="check the address"):
            files.champion(f"http://127.0.0.1:{server.server_port}")
        server.shutdown()


@pytest.mark.parametrize("text", ["", "[]", '{"candidates": 3, "x": NaN'])
def test_scores_that_are_none_are_refused(files: Files, tmp_path: Path, text: str) -> None:
    (tmp_path / "scores").write_text(text)
    with pytest.raises(InvalidData, match="evaluate stage"):
        files.register(f"sqlite:///{tmp_path}/registry/mlflow.db")


def test_steps_that_register_at_once_each_get_a_version(files: Files, tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/registry/mlflow.db"
    executors = []
    for number in range(3):
        folder = tmp_path / f"step-{number}"
        artifacts = {
            "model": files.graph,
            "scores": tmp_path / "scores",
            "data": tmp_path / "train.parquet",
            "train": tmp_path / "train.parquet",
        }
        document = {
            "inputs": {
                "parameterValues": {"registry": uri, "model_name": "bandwidth", "run_id": f"run-{number}"},
                "artifacts": {k: {"artifacts": [{"name": k, "uri": str(v)}]} for k, v in artifacts.items()},
            },
            "outputs": {
                "parameters": {"version": {"outputFile": str(folder / "version")}},
                "artifacts": {"metrics": {"artifacts": [{"name": "metrics", "uri": str(folder / "metrics")}]}},
                "outputFile": str(folder / "executor_output.json"),
            },
        }
        command = [sys.executable, "-m", "fleetml.component", "components.register.register:register"]
        executors.append((folder, subprocess.Popen([*command, json.dumps(document)])))
    assert [process.wait(120) for _, process in executors] == [0, 0, 0]
    outputs = [json.loads((folder / "executor_output.json").read_text()) for folder, _ in executors]
    assert sorted(output["parameterValues"]["version"] for output in outputs) == ["1", "2", "3"]


def test_a_challenger_waits_beside_the_champion_and_aliases_are_set_with_and_without_mlflow_s_client(
    files: Files, registry: str
) -> None:
    assert aliases.read(registry, "bandwidth") == {}
    assert files.register(registry, rollout="canary")[0] == "1"  # nobody to challenge
    assert files.register(registry, rollout="canary")[0] == "2"
    assert aliases.read(registry, "bandwidth") == {"champion": "1", "challenger": "2"}
    wanted = {"champion": "2", "challenger": "", "previous": "1"}
    assert aliases.assign(registry, "bandwidth", wanted) == wanted
    assert aliases.read(registry, "bandwidth") == {"champion": "2", "previous": "1"}
    assert aliases.assign(registry, "bandwidth", wanted) == {}
    with pytest.raises(ConfigurationError, match="must know"):
        aliases.assign(registry, "bandwidth", {"champion": "9"})
    with pytest.raises(InvalidParameter, match="empty or one of canary, ab, shadow"):
        files.register(registry, rollout="boldly")


def test_a_version_tells_what_its_run_cost_so_far(files: Files, registry: str, tmp_path: Path) -> None:
    run = Run(tmp_path, "run-1")
    run.start({"pipeline": "train-forecaster", "steps": ["fit", "register"]})
    spent = Cost(12.0, 6.0, 10, 0.0, 0.001, 0.0, 0.5, None, "EUR", "eu-west-1", "rapl", "ours.csv", "")
    for number in (1, 2):
        run.write(Attempt("fit", number, "succeeded", cost=asdict(spent)))
    files.register(registry, results=str(tmp_path / "results"))
    client = mlflow.MlflowClient(registry, registry)
    version = client.get_model_version("bandwidth", "1")
    assert version.tags["fleetml.cost"] == "1.000000 EUR"
    assert (version.tags["fleetml.cost.source"], version.tags["fleetml.cost.region"]) == ("rapl", "eu-west-1")
    told = client.get_run(version.run_id).data.metrics
    assert (told["cost.kwh"], told["cost.money"], told["cost.cpu_seconds"]) == (0.002, 1.0, 24.0)
    assert "cost.co2_grams" not in told, "what nobody knows is no nought"
    files.register(registry)
    assert "fleetml.cost" not in client.get_model_version("bandwidth", "2").tags


def test_a_version_tells_where_it_comes_from_and_has_a_card(files: Files, registry: str, tmp_path: Path) -> None:
    run = Run(tmp_path, "run-1")
    run.start({"pipeline": "train-forecaster", "digest": "ab12", "parameters": {"seed": 7, "source": ""}, "steps": []})
    run.update(cost={"cpu_seconds": 12.0, "kwh": 0.001, "usd": 0.5, "co2_grams": 2.0})
    files.register(registry)
    found = dict(provenance.of(registry, tmp_path, "bandwidth", "1"))
    assert found["data"] == str(tmp_path / "train.parquet")
    assert (found["data rows"], found["covariates"]) == ("40", "vm_metrics:cpu_usage")
    assert (found["run"], found["parameters"]) == ("run-1", "seed=7")
    assert found["cost"].startswith("12.0 CPU s, 1.000 Wh, 0.500000 USD")
    assert found["pipeline"].startswith("train-forecaster (IR ab12")
    assert {"data SHA-256", "code and environment", "image", "model SHA-256"} <= set(found)
    with pytest.raises(ConfigurationError, match="bandwidth"):
        provenance.of(registry, tmp_path, "bandwidth", "9")
    run.folder.rename(tmp_path / "removed")
    assert "not in" in dict(provenance.of(registry, tmp_path, "bandwidth", "1"))["run's record"]

    client = mlflow.MlflowClient(registry, registry)
    version = client.get_model_version("bandwidth", "1")
    assert "| automl (this one) | linear | 0.8 |" in version.description
    kept = {item.path for item in client.list_artifacts(version.run_id)}
    assert {"model_card.md", "model_card.html", "scores.json"} <= kept
