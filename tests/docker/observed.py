"""A model server, a rollout controller, the monitor's and the pipelines' figures, exporters, and a Prometheus that scrapes them all."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

from components.drift.publish import publish
from fleetml.component import Artifact
from fleetml.cost.budget import Budget, Limits
from fleetml.engines import record
from fleetml.errors import FleetMLError
from fleetml.records import Attempt, Run
from fleetml.serving import deployment, truth
from fleetml.serving.client import Client
from fleetml.serving.deployment import Card
from fleetml.stack.ports import free
from fleetml.stack.processes import wait_until
from tests.cost.exporters.measured import idle, scenario, write
from tests.cost.exporters.test_model import straight

ROOT = Path(__file__).parents[2]
needs_prometheus = pytest.mark.skipif(
    shutil.which("prometheus") is None, reason="no Prometheus (Debian: apt-get install prometheus)"
)
BUDGET = Budget("USD", run=Limits(kwh=1.0), month=Limits(kwh=10.0))
PIPELINE = {"pipeline": "train-forecaster", "steps": ["ingest", "fit"], "due": 1.0, "budget": BUDGET.to_json()}
ORIGIN, STEP = datetime(2026, 3, 1, 12, tzinfo=UTC), timedelta(minutes=5)
COST = {"cpu_seconds": 2.0, "usd": 0.01, "kwh": 0.001, "co2_grams": 0.4}


@dataclass
class Observed:
    """What runs: the address of Prometheus, the serving folder, and the gRPC and HTTP addresses of the server."""

    prometheus: str
    root: Path
    grpc: str
    http: str

    def make_figures(self) -> None:
        """Ask the models, let the truth arrive, ask what is refused, end runs of pipelines well and badly, publish a verdict."""
        vms = [f"vm-{number}" for number in range(8)]
        with Client(self.grpc, timeout=60) as client:
            for vm in vms:
                client.predict_bandwidth(vm, [100.0] * 12, 10, as_of=ORIGIN)
                client.forecast("cpu", vm, [100.0] * 12, 10)
            with contextlib.suppress(FleetMLError):
                client.forecast("stranger", "vm-1", [1.0] * 12, 10)
        known = [(vm, ORIGIN + STEP * number, 104.0) for vm in vms for number in (1, 2)]
        truth.write(self.root, "bandwidth", pl.DataFrame(known, schema=truth.SCHEMA, orient="row"))
        urllib.request.urlopen(f"http://{self.http}/v2/health/ready", timeout=60).read()
        home = self.root.parent
        for engine in ("local", "airflow"):
            _run(home, engine, "succeeded", "failed")
            _run(home, engine, "succeeded", "succeeded")
            _run(home, engine, "cached", "")
        report = Artifact("report", str(home / "report.html"))
        report.path.write_text("<p>drift")
        found = {"drifted": True, "score": 0.7, "features": {"cpu_usage": 0.6}, "missing": ["latency"], "accuracy": 0.9}
        publish(report, Artifact("metrics", ""), "bandwidth", str(self.root), "", run_id="r", **found)  # type: ignore[arg-type]

    def ask(self, query: str) -> list[dict[str, Any]]:
        """Return the samples of an instant query. Raises HTTPError where Prometheus cannot take it."""
        found = self._get("query", query=query)["result"]
        assert isinstance(found, list)
        return found

    def names(self) -> list[str]:
        return list(self._get("label/__name__/values"))

    def label_values(self, metric: str, label: str) -> list[str]:
        return list(self._get(f"label/{label}/values", **{"match[]": metric}))

    def rules(self) -> list[dict[str, Any]]:
        return list(self._get("rules")["groups"])

    def _get(self, path: str, **asked: str) -> Any:
        url = f"{self.prometheus}/api/v1/{path}?{urllib.parse.urlencode(asked)}"
        with urllib.request.urlopen(url, timeout=60) as answer:
            return json.load(answer)["data"]


@pytest.fixture(scope="module")
def observed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Observed]:
    """What runs, once Prometheus has reached all of it."""
    folder = tmp_path_factory.mktemp("observed")
    root = folder / "serving"
    _deploy(root, folder)
    controller = free()
    serving = [sys.executable, "-m", "fleetml.serving", "--dir", str(root), "--port", "0", "--cache", "100"]
    rollout = [sys.executable, "-m", "fleetml.serving.rollout", "--dir", str(root), "--seconds", "1"]
    rollout += ["--port", str(controller), "--registry", "http://127.0.0.1:1"]
    exporters = _exporters(folder / "measurements")
    with contextlib.ExitStack() as running:
        _start(running, exporters.pop("command"), folder / "exporters.log")
        _start(running, [*serving, "--textfiles", str(folder / "metrics")], folder / "serving.log")
        _start(running, rollout, folder / "rollout.log")
        assert wait_until(lambda: len(deployment.status(root).get("models", {})) == 2, 120, 0.1)
        told = deployment.status(root)
        targets = {"serving": told["http"], "rollout": f"127.0.0.1:{controller}", **exporters}
        address = _prometheus(running, folder, targets)
        found = Observed(address, root, told["address"], told["http"])
        assert wait_until(_quiet(lambda: len(found.ask("up == 1")) == len(targets)), 120, 0.2), (
            folder / "prometheus.log"
        ).read_text()
        yield found


def _exporters(folder: Path) -> dict[str, Any]:
    """Return the command of the exporters over two measured runs and a power model, and the address of each."""
    folder.mkdir()
    quality = {"vmaf_score": 92.1, "psnr_score": 41.0, "ssim_score": 0.98, "viewers": 10}
    frames = {"avg_fps": 29.9, "dropped_frames": 3, "total_frames": 300}
    for run in "ab":
        measured = (scenario(f"{streams} Streams @ 2500k", **quality, **frames) for streams in (2, 4))
        write(folder, idle(), *measured, name=f"test_results_{run}.json")
    (folder / "model.json").write_text(straight(3.0))
    ports = {name: free() for name in ("cost", "qoe", "results")}
    options = [word for name, port in ports.items() for word in (f"--{name}", str(port))]
    command = [sys.executable, "-m", "fleetml.cost.exporters", "--folder", str(folder), *options]
    targets = {name: f"127.0.0.1:{port}" for name, port in ports.items()}
    return {"command": [*command, "--model", str(folder / "model.json")], **targets}


def _deploy(root: Path, folder: Path) -> None:
    """Serve two models; beside one is a version that answers, beside the other one that cannot be loaded."""
    from tests.small_graphs import META, forecaster

    for model, second in (("bandwidth", forecaster(add=2.0)), ("cpu", b"no graph")):
        for version, graph in (("1", forecaster(replace(META, target=model), 1.0)), ("2", second)):
            file = folder / f"{model}-{version}.onnx"
            file.write_bytes(graph)
            card = Card(model, version, deployment.digest(file))
            deployment.install(root, card, {deployment.GRAPH: file})
        deployment.point(root, model, "1")
        deployment.begin(root, model, "2", "canary", 0.5, datetime.now(UTC))


def _run(home: Path, engine: str, first: str, second: str) -> None:
    """Record a run as an engine does: two steps, the second of which ends as said ("": there is none)."""
    now = time.time()
    run = Run(home, f"{engine}-{os.urandom(4).hex()}")
    record.begin(run, {**PIPELINE, "engine": engine, "due": now - 3}, ROOT / "dags/train_forecaster/pipeline.yaml")
    outcome = {"state": "succeeded", "cached": first == "cached", "parameters": {}, "artifacts": {}}
    run.write(
        Attempt("ingest", 1, "succeeded", now, now + 1, outcome=outcome, cost=None if outcome["cached"] else COST)
    )
    if second:
        run.write(Attempt("fit", 1, second, now + 2, now + 5, cost=COST))
    record.end(run, "failed" if second == "failed" else "succeeded")


def _prometheus(running: contextlib.ExitStack, folder: Path, targets: dict[str, str]) -> str:
    """Start Prometheus with the configuration of compose, every second, at these addresses; return its own."""
    config = yaml.safe_load((ROOT / "docker/prometheus.yml").read_text())
    config["global"]["scrape_interval"] = config["global"]["evaluation_interval"] = "1s"
    config["rule_files"] = [str(ROOT / "docker/prometheus/*.rules.yml")]
    del config["alerting"]
    config["scrape_configs"] = [job for job in config["scrape_configs"] if job["job_name"] in targets]
    for job in config["scrape_configs"]:
        job["static_configs"] = [{"targets": [targets[job["job_name"]]]}]
    assert len(config["scrape_configs"]) == len(targets)
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    address = f"127.0.0.1:{free()}"
    command = ["prometheus", f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data"]
    _start(running, [*command, f"--web.listen-address={address}"], folder / "prometheus.log")
    return f"http://{address}"


def _start(running: contextlib.ExitStack, command: list[str], log: Path) -> None:
    output = running.enter_context(log.open("wb"))
    process = running.enter_context(subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=output))
    running.callback(process.terminate)


def _quiet(ask: Callable[[], bool]) -> Callable[[], bool]:
    def asked() -> bool:
        with contextlib.suppress(OSError):
            return ask()
        return False

    return asked
