"""The project's own pipelines in its own stack: Airflow, MLflow and the model server, all real; figures compared.

The data are a slice of bitbrains_rnd where it is at hand, of the generator elsewhere.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fleetml.cli import main
from fleetml.cli.pipelines import triggers_of
from fleetml.engines import local
from fleetml.engines.kfp import submit
from fleetml.images import Images
from fleetml.learn import windows
from fleetml.records import Attempt, Run
from fleetml.serving.client import Client
from fleetml.settings import Settings
from fleetml.stack import airflow, processes
from tests.e2e.fleet import ROOT, Fleet, ir, plan_of
from tests.engines.kfp.contract import Contract

AUGUST = ROOT.parent / "shared/data/bitbrains_rnd/vm001-150_2013-08_all_metrics.parquet"
ORCHESTRATOR = ROOT / ".venv/orchestrator/bin"

# Bounded by trials, not by seconds or milliseconds: what is found does not depend on how busy the machine is.
BUDGET = {
    "window_days": 8,
    "horizon": 12,
    "context": 72,
    "test_windows": 3,
    "max_windows": 300,
    "automl_trials": 2,
    "nas_trials": 1,
    "hpo_trials": 1,
    "automl_seconds": 600,
    "nas_seconds": 600,
    "hpo_seconds": 600,
    "latency_budget_ms": 1000.0,
}
PLACES = {"registry", "results", "serving_dir", "serving_address", "feature_store", "store", "address", "run_id"}
IMAGES = """[images."fleetml/ml"]
venv = ".venv"
locks = []
registry = "registry.example/fleetml-ml"
digest = "sha256:{digest}"
"""

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(not (ORCHESTRATOR / "airflow").exists(), reason="no .venv/orchestrator: make setup"),
]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Eight days of a few VMs."""
    import polars as pl

    if not AUGUST.exists():
        return "synthetic://?vms=10&days=8&seed=3"
    table = pl.scan_parquet(AUGUST)
    names = table.collect_schema().names()
    vm = "vm_id" if "vm_id" in names else names[0]
    few = table.select(pl.col(vm).unique().sort().head(12)).collect().to_series()
    path = tmp_path_factory.mktemp("slice") / "august.parquet"
    table.filter(pl.col(vm).is_in(few.implode())).sink_parquet(path)
    return str(path)


@pytest.fixture(scope="module")
def trained(fleet: Fleet, source: str) -> dict[str, Attempt]:
    return fleet.run("train_forecaster", source=source, **BUDGET)


@pytest.fixture(scope="module")
def here(fleet: Fleet, source: str, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Run the same on this machine, in an empty home: nothing that Airflow computed can be reused."""
    home = tmp_path_factory.mktemp("local") / "home"
    settings = Settings.from_environment({"FLEETML_PROJECT": str(ROOT), "FLEETML_HOME": str(home)})
    plan, file = plan_of("train_forecaster"), ir("train_forecaster")
    given = {**triggers_of(file, plan, settings).defaults, "source": source, **BUDGET}
    assert local.run(local.Job(plan, file, plan.bind(given), "here"), settings) == "succeeded"
    return Run(home, "here")


def metrics(attempt: Attempt) -> dict[str, Any]:
    (entry,) = (attempt.outcome or {})["artifacts"]["metrics"]
    return dict(entry["metadata"])


def results(attempt: Attempt) -> dict[str, Any]:
    """What a step found, without what was measured on this machine (time, memory, energy) and where its registry is."""
    return {
        name: value
        for name, value in metrics(attempt).items()
        if name != "mlflow"
        and "seconds" not in name
        and "ms" not in name.split("_")
        and not name.startswith(("memory_mb", "wh_"))
    }


def test_airflow_runs_every_step(trained: dict[str, Attempt]) -> None:
    assert {step: attempt.state for step, attempt in trained.items()} == dict.fromkeys(
        plan_of("train_forecaster").steps, "succeeded"
    )


def settled(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return parameters without those that say where something is."""
    return {name: value for name, value in parameters.items() if name not in PLACES}


def artifact(attempts: Mapping[str, Attempt], step: str, name: str) -> Path:
    return Path((attempts[step].outcome or {})["artifacts"][name][0]["uri"])


def test_no_dag_file_fails_to_load(fleet: Fleet) -> None:
    image = Images(ROOT).resolve("fleetml/orchestrator")
    env = airflow.environment(fleet.settings, image, fleet.settings.home / "airflow", 8080)
    command = [str(image.python), str(ORCHESTRATOR / "airflow"), "dags", "list-import-errors", "--output", "json"]
    listed = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    assert json.loads(listed.stdout.splitlines()[-1]) == []  # warnings come before it


def test_the_champion_is_registered_and_answers(fleet: Fleet, trained: dict[str, Attempt]) -> None:
    from mlflow import MlflowClient

    champion = MlflowClient(fleet.settings.registry).get_model_version_by_alias("bandwidth", "champion")
    assert champion.version == str(metrics(trained["condition-1/register"])["version"])
    held_out = windows.load(artifact(trained, "features", "test"))
    with Client(fleet.settings.serving_address, probe=True) as client:
        answer = client.predict_bandwidth(str(held_out.vm_id[0]), held_out.history[0].tolist(), 60)
    assert answer.model_version == champion.version
    assert len(answer.values) == 12
    assert np.isfinite(answer.values).all()


def test_each_vm_has_its_forecast(trained: dict[str, Attempt]) -> None:
    import polars as pl

    table = pl.read_parquet(artifact(trained, "condition-1/batch-predict", "predictions"))
    held_out = windows.load(artifact(trained, "features", "test"))
    assert set(table["vm_id"]) == set(held_out.vm_id.tolist())
    assert table.height == table["vm_id"].n_unique() * BUDGET["horizon"]


def test_the_same_ir_finds_the_same_on_this_machine(trained: dict[str, Attempt], here: Run, fleet: Fleet) -> None:
    there = here.latest()
    assert not any(attempt.cached for attempt in (*there.values(), *trained.values()))
    for step, attempt in trained.items():
        mine, other = attempt.inputs or {}, there[step].inputs or {}
        assert settled(mine["parameters"]) == settled(other["parameters"]), step
        assert results(attempt) == results(there[step]), step
    assert artifact(trained, "gate", "model").read_bytes() == artifact(there, "gate", "model").read_bytes()


def test_kfp_takes_the_same_ir_with_the_same_parameters(here: Run, source: str, tmp_path: Path) -> None:
    """No cluster is to be had here: the server is the contract's (tests/engines/kfp/contract.py)."""
    (tmp_path / "images").mkdir()
    (tmp_path / "images/images.toml").write_text(IMAGES.format(digest="a" * 64))
    with Contract() as server:
        made = submit(ir("train_forecaster"), {"source": source, **BUDGET}, server.host, project=tmp_path)
        taken = server.runs[made.run_id]["runtime_config"]["parameters"]
    assert settled(taken) == settled(here.read()["parameters"])


def test_federated_rounds_run_in_airflow(fleet: Fleet, source: str) -> None:
    steps = fleet.run("federated_forecaster", source=source, window_days=8, rounds=1, test_windows=2, max_windows=300)
    assert {attempt.state for attempt in steps.values()} <= {"succeeded", "skipped"}
    assert steps["federated"].state == "succeeded"


def ask(fleet: Fleet, held_out: windows.Windows, factor: float, count: int = 400) -> None:
    """Send traffic, as a scheduler that asks for each VM's next hour does."""
    with Client(fleet.settings.serving_address) as client:
        for number in range(count):
            window = number % len(held_out)
            history = (held_out.history[window] * factor).tolist()
            client.predict_bandwidth(str(held_out.vm_id[window]), history, 60)


def retrainings(fleet: Fleet) -> list[str]:
    runs = fleet.client.call("GET", "dags/train_forecaster/dagRuns?run_type=asset_triggered")["dag_runs"]
    return [run["dag_run_id"] for run in runs]


def test_shifted_traffic_starts_one_retraining_and_unshifted_none(
    fleet: Fleet, trained: dict[str, Attempt], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    held_out = windows.load(artifact(trained, "features", "test"))
    ask(fleet, held_out, 1.0)
    calm = fleet.run("monitor")
    assert calm["condition-1/drift"].state == "succeeded"
    assert calm["condition-1/condition-2/retrain-event"].state == "skipped", metrics(calm["condition-1/drift"])
    assert retrainings(fleet) == []

    ask(fleet, held_out, 6.0, 1200)
    moved = fleet.run("monitor")
    assert moved["condition-1/condition-2/retrain-event"].state == "succeeded", metrics(moved["condition-1/drift"])
    assert processes.wait_until(lambda: bool(retrainings(fleet)), 60)
    (run_id,) = retrainings(fleet)
    records = Run(fleet.settings.home, f"train_forecaster__{run_id}")
    assert processes.wait_until(records.exists, 60)
    event = (moved["condition-1/condition-2/retrain-event"].outcome or {})["parameters"]["event"]
    given = records.read()["parameters"]
    assert given["reason"] == event["reason"] == "drift"
    assert given["drift"] == event["features"]
    assert given["drift"]
    assert given["evidence"] == event["evidence"]

    monkeypatch.setenv("FLEETML_PROJECT", str(ROOT))
    monkeypatch.setenv("FLEETML_HOME", str(fleet.settings.home))
    assert main(["monitor", "bandwidth"]) == 0
    said = capsys.readouterr().out
    assert f"verdict: the retrain {event['evidence']['retrain']} is under way" in said
    assert retrainings(fleet) == [run_id]
    fleet.client.fail("train_forecaster", run_id)
