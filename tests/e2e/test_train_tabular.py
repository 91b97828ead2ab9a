"""train_tabular on this machine: from a CSV file to a graph in the serving folder that answers."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from fleetml.cli import main
from fleetml.learn.tables.model import TabularModel
from fleetml.serving import deployment
from tests.components.automl.conftest import rows

ROOT = Path(__file__).parents[2]

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(not (ROOT / ".venv/ml/bin/python").exists(), reason="no .venv/ml: make setup"),
]


def test_a_file_becomes_a_graph_that_serves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLEETML_HOME", str(tmp_path / "home"))
    rows(240).drop("spend").write_csv(tmp_path / "rows.csv")
    given = {
        "dataset_path": tmp_path / "rows.csv",
        "target": "label",
        "trials": 2,
        "search_seconds": 300,
        "workers": 1,
        "latency_limit_ms": 1000.0,
        "model_name": "labels",
        "registry": f"sqlite:///{tmp_path}/mlflow.db",
        "serving_dir": tmp_path / "serving",
    }
    words = [text for name, value in given.items() for text in ("-p", f"{name}={value}")]
    assert main(["run", str(ROOT / "dags/train_tabular"), *words]) == 0
    served = deployment.read(tmp_path / "serving")["labels"]
    assert served.version == "1"
    card = deployment.card(tmp_path / "serving" / served.graph)
    assert card is not None
    assert card.metadata["kind"] == "tabular"
    assert card.metadata["figures"]["log_loss"] < 0.69
    asked = pl.DataFrame({"age": [25, 70], "income": [3000.0, None], "city": ["oslo", "never seen"]})
    assert TabularModel(tmp_path / "serving" / served.graph).predict(asked).prediction.tolist() == ["no", "yes"]
