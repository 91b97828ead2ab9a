"""Training jobs: `fleetml train JOB.yaml` is a run of the matching pipeline."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path
from typing import Any

import pytest
import yaml

from fleetml.cli import main
from fleetml.records import Run, runs
from fleetml.workflow import job
from fleetml.workflow.emit import compiled
from fleetml.workflow.grammar import InvalidWorkflow
from fleetml.workflow.spec import parse
from tests.contracts import rows

ROOT = Path(__file__).parents[2]
JOB: dict[str, Any] = {
    "model_id": "churn",
    "dataset": {"uri": "rows.csv", "schema": {"a": "integer", "b": "float", "label": "string"}},
    "features": [{"name": "b", "transformations": ["log", "standard_scale"]}],
    "target": "label",
    "algorithm": "xgboost",
    "max_iterations": 20,
    "early_stopping": True,
    "learning_rate": 0.2,
    "validation_split": 0.25,
    "resources": {"cpu_cores": 2, "memory_gb": 2},
}


def test_a_job_is_trained_as_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setenv("FLEETML_PROJECT", str(ROOT))
    monkeypatch.setenv("FLEETML_HOME", str(tmp_path / "home"))
    rows(tmp_path, "rows.csv")
    place = tmp_path / "job.yaml"
    place.write_text(yaml.safe_dump(JOB))
    assert main(["train", str(place)]) == 0
    (run,) = runs(tmp_path / "home")
    assert run["pipeline"] == "train-churn"
    latest = Run(tmp_path / "home", run["run_id"]).latest()
    made = latest["train"].outcome["artifacts"]["model"][0]["metadata"]  # type: ignore[index]
    assert made["hyperparameters"] == {"early_stopping": True, "learning_rate": 0.2, "max_iterations": 20}
    assert latest["train"].inputs["parameters"]["threads"] == 2  # type: ignore[index]
    assert latest["data"].inputs["parameters"]["validation_split"] == 0.25  # type: ignore[index]
    assert "accuracy 1" in capsys.readouterr().out
    assert main(["train", str(place), "-p", "seed=1"]) == 2
    assert "a training job says everything itself" in capsys.readouterr().err
    place.write_text(yaml.safe_dump({**JOB, "algorithm": "svm"}))
    assert main(["train", str(place)]) == 1
    assert f"{place}: algorithm: must be one of linear" in capsys.readouterr().err


def test_without_an_algorithm_all_are_searched_and_a_deployment_is_checked_first() -> None:
    made = job.workflow({"model_id": "m", "dataset": {"uri": "/d.csv"}, "deployment": {}}, Path("/"))
    assert [task.type for task in made.tasks] == [
        "DATA_PREPROCESSING",
        "HYPERPARAMETER_TUNING",
        "MODEL_EVALUATION",
        "MODEL_VALIDATION",
        "MODEL_DEPLOYMENT",
    ]
    assert made.tasks[-1].parameters["model_name"] == "m"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"algorithm": None}, "max_iterations: is of one algorithm, none is given"),
        ({"dataset": {"uri": "/d", "target": "label"}}, "target: stands at the top and in dataset"),
        ({"hyperparameters": {"max_iterations": 3}}, "hyperparameters.max_iterations: stands at the top too"),
        ({"features": ["label"]}, "features[0]: 'label' is the target"),
        ({"model_id": "--"}, "model_id: a name has letters or digits"),
        ({"dataset": {"uri": "/d", "schema": 3}}, "dataset.schema: must map columns to types, got 3"),
        ({"algorithm": "linear"}, "early_stopping: linear has no early_stopping"),
    ],
)
def test_what_contradicts_itself_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidWorkflow) as refused:
        job.workflow({**JOB, **changes}, Path("/"))
    assert said in str(refused.value)


def test_early_stopping_that_is_off_suits_every_algorithm() -> None:
    changes = {"algorithm": "random_forest", "early_stopping": False, "learning_rate": None}
    made = job.workflow({**JOB, **changes}, Path("/"))
    assert made.tasks[2].parameters == {"algorithm": "random_forest", "max_iterations": 20}


def test_a_forecasting_job_is_a_run_of_train_forecaster() -> None:
    given = {
        "model_id": "cpu",
        "objective": "forecasting",
        "dataset": {"uri": "metrics.csv"},
        "target": "cpu",
        "seed": 3,
    }
    assert job.is_forecast(given)
    found = job.forecast_parameters(given, Path("/here"))
    assert found == {"source": "/here/metrics.csv", "target": "cpu", "seed": 3}
    for more, said in [
        ({"algorithm": "mlp"}, "algorithm: train_forecaster settles it by itself"),
        ({"dataset": {"uri": "x", "schema": {}}}, "dataset.schema: VM metrics have columns of their own"),
    ]:
        with pytest.raises(InvalidWorkflow, match=said):
            job.forecast_parameters({**given, **more}, Path("/here"))


def test_a_forecasting_job_runs_train_forecaster_on_its_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setenv("FLEETML_PROJECT", str(ROOT))
    monkeypatch.setenv("FLEETML_HOME", str(tmp_path / "home"))
    place = tmp_path / "job.json"
    place.write_text('{"model_id": "m", "objective": "forecasting", "dataset": {"uri": "x.csv"}, "target": "cpu"}')
    assert main(["train", str(place)]) == 2
    assert f"a URL that is there, {tmp_path}/x.csv is not" in capsys.readouterr().err
    assert not [*runs(tmp_path / "home")]
    (tmp_path / "x.csv").touch()
    assert main(["train", str(place)]) == 1
    assert f"{tmp_path}/x.csv" in capsys.readouterr().err
    (run,) = runs(tmp_path / "home")
    assert (run["pipeline"], run["parameters"]["target"]) == ("train-forecaster", "cpu")


def test_the_retries_of_its_triggers_are_those_of_its_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLEETML_PROJECT", str(ROOT))
    monkeypatch.setenv("FLEETML_HOME", str(tmp_path / "home"))
    (tmp_path / "job.triggers.yaml").write_text("retries: 2\n")
    place = tmp_path / "job.json"
    place.write_text('{"model_id": "m", "dataset": {"uri": "empty.csv"}, "algorithm": "linear"}')
    (tmp_path / "empty.csv").touch()
    assert main(["train", str(place)]) == 1
    (run,) = runs(tmp_path / "home")
    assert run["retries"] == 2


def test_jobs_and_workflows_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setenv("FLEETML_PROJECT", str(ROOT))
    monkeypatch.setenv("FLEETML_HOME", str(tmp_path / "home"))
    place, workflow = tmp_path / "job.yaml", tmp_path / "w.yaml"
    place.write_text(yaml.safe_dump(JOB))
    workflow.write_text("workflow_id: w\ntasks: [{task_id: a, task_type: model_training}]\n")
    for command in ("run", "compile"):
        assert main([command, str(place)]) == 1
        assert f"a training job is no pipeline; run it: fleetml train {place}" in capsys.readouterr().err
    assert main(["train", str(workflow)]) == 2
    assert "is a workflow; use run" in capsys.readouterr().err


def test_the_examples_of_the_documents_are_right(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "workflows.md").read_text()
    blocks = [textwrap.dedent(block) for block in re.findall(r"(?:^    .*\n|^\n)+", text, re.MULTILINE)]
    workflow, found = (
        yaml.safe_load(next(block for block in blocks if block.lstrip().startswith(start)))
        for start in ("workflow_id", "model_id")
    )
    assert len(compiled(parse(workflow))["root"]["dag"]["tasks"]) == 2
    assert [task.id for task in job.workflow(found, Path("/")).tasks] == ["data", "features", "train", "evaluate"]
