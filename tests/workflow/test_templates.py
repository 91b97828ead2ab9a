"""Each template runs as it is written, on data beside it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from fleetml.cli import main
from fleetml.records import Run, runs
from fleetml.serving import deployment
from tests.contracts import rows

ROOT = Path(__file__).parents[2]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with data, where commands run."""
    monkeypatch.setenv("FLEETML_PROJECT", str(ROOT))
    monkeypatch.setenv("FLEETML_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    rows(tmp_path, "data.csv")
    return tmp_path


def test_training_by_the_standard_template(place: Path) -> None:
    assert main(["workflow", "new", "churn"]) == 0
    assert main(["run", "churn.yaml"]) == 0
    (run,) = runs(place / "home")
    assert (run["pipeline"], run["state"]) == ("churn", "succeeded")


def test_tuning(place: Path) -> None:
    main(["workflow", "new", "best", "--template", "tune"])
    text = (place / "best.yaml").read_text()
    (place / "best.yaml").write_text(text.replace("max_trials: 20", "max_trials: 5"))
    assert main(["run", "best.yaml"]) == 0


def test_automl_to_a_version_that_serves(place: Path) -> None:
    main(["workflow", "new", "found", "--template", "automl"])
    text = (place / "found.yaml").read_text()
    (place / "found.yaml").write_text(text.replace("timeout_seconds: 300", "timeout_seconds: 60, trials: 2"))
    assert main(["run", "found.yaml"]) == 0
    (run,) = runs(place / "home")
    outcomes = Run(place / "home", run["run_id"]).latest()
    model = outcomes["search"].outcome["artifacts"]["model"][0]  # type: ignore[index]
    assert model["metadata"]["metric"] == "accuracy"
    assert "seconds" in model["metadata"]["card"]
    assert deployment.read(place / "home" / "serving")["found"].version == "1"


def test_retraining_serves_a_model_that_batch_inference_finds(place: Path) -> None:
    main(["workflow", "new", "churn", "--template", "retrain"])
    text = (place / "churn.yaml").read_text()
    (place / "churn.yaml").write_text(text.replace("max_trials: 20", "max_trials: 2"))
    assert main(["run", "churn.yaml"]) == 0
    assert deployment.read(place / "home" / "serving")["churn"].version == "1"
    main(["workflow", "new", "predictions", "--template", "batch"])
    assert main(["run", "predictions.yaml", "-p", "model_name=churn"]) == 0
    made = pl.read_parquet(place / "predictions.parquet")
    assert (made["prediction"] == made["label"]).mean() > 0.9


def test_nothing_is_overwritten_and_a_name_is_an_id(place: Path, capsys: Any) -> None:
    main(["workflow", "new", "churn"])
    assert main(["workflow", "new", "churn"]) == 2
    assert "a new workflow overwrites nothing, churn.yaml exists" in capsys.readouterr().err
    assert main(["workflow", "new", "../churn"]) == 1
    assert "workflow_id: an id is letters, digits" in capsys.readouterr().err


def test_the_schemas_are_printed(place: Path, capsys: Any) -> None:
    for of in ("workflow", "job"):
        assert main(["workflow", "schema", of]) == 0
        assert json.loads(capsys.readouterr().out) == json.loads((ROOT / f"docs/schemas/{of}.schema.json").read_text())
