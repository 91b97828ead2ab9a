"""A workflow's IR under Airflow: the same tasks, the same result as on this machine, and its cache."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("airflow", reason="Airflow lives in the orchestrator environment")

from fleetml.cli import main
from fleetml.engines.airflow.source import record_id
from fleetml.records import Run, runs
from fleetml.workflow import source
from tests.contracts import rows, training

ROOT = Path(__file__).parents[3]
DAG_FILE = """
from pathlib import Path
from fleetml.engines.airflow import load_dags
load_dags(Path(__file__).parent, globals())  # airflow dag
"""


@pytest.mark.skipif(not (ROOT / ".venv/ml").is_dir(), reason="the steps' environment is not built")
def test_the_example_is_a_dag_whose_result_is_a_hit_here(
    airflow_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    from airflow.dag_processing.dagbag import DagBag, sync_bag_to_db

    monkeypatch.setenv("FLEETML_PROJECT", str(ROOT))
    monkeypatch.setenv("FLEETML_HOME", str(tmp_path / "home"))
    dags = airflow_home / "dags" / "workflows"
    folder = dags / "training"
    folder.mkdir(parents=True)
    rows(folder)
    (folder / "workflow.json").write_text(json.dumps(training()))
    source.compile_file(folder / "workflow.json")
    (dags / "workflows.py").write_text(DAG_FILE)
    bag = DagBag(str(dags), bundle_name="dags-folder", bundle_path=airflow_home / "dags")
    sync_bag_to_db(bag, "dags-folder", None)
    dag = bag.dags["training_pipeline_v1"]
    assert {"preprocess-data", "train-model"} <= set(dag.task_ids)
    run = dag.test()
    assert run.state == "success"
    there = Run(tmp_path / "home", record_id(run.dag_id, run.run_id)).latest()
    assert there["train-model"].figures["accuracy"] > 0.9  # type: ignore[index]
    assert main(["run", str(folder / "workflow.json")]) == 0
    assert "train-model      cached" in capsys.readouterr().out
    here = [Run(tmp_path / "home", each["run_id"]) for each in runs(tmp_path / "home") if each["engine"] == "local"]
    assert here[0].latest()["train-model"].result == there["train-model"].result
