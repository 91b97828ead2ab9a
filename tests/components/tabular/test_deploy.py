"""A model of a table goes to the registry and the serving folder."""

from __future__ import annotations

from typing import Any

import pytest

from components.tabular.deploy import deploy
from fleetml.errors import ConfigurationError, InvalidData, InvalidParameter
from fleetml.learn.graph import InvalidGraph
from fleetml.learn.tables.model import TabularModel
from fleetml.serving import deployment
from fleetml.serving.registry import Registry
from tests.components.tabular.conftest import FEATURES


def test_a_deployed_model_is_registered_and_lies_in_the_serving_folder(
    dataset: Any, trained: Any, new: Any, tmp_path: Any
) -> None:
    given = dataset(FEATURES)
    model, metrics = trained(given), new("m")
    places = {"registry": f"sqlite:///{tmp_path}/registry/mlflow.db", "serving_dir": str(tmp_path / "serving")}
    scaling = {"min_replicas": 2, "max_replicas": 10}
    made = deploy(model, metrics, given, "labels", scaling_config=scaling, run_id="r1", **places)
    assert made == {"version": "1"}
    served = deployment.read(tmp_path / "serving")["labels"]
    card = deployment.card(tmp_path / "serving" / served.graph)
    assert card is not None
    assert card.metadata["deployment"] == {"target": "production", "scaling": scaling}
    assert card.metadata["figures"]["accuracy"] > 0.5
    assert TabularModel(tmp_path / "serving" / served.graph).about.target == "label"
    data = Registry(places["registry"]).fetch("labels", "1", tmp_path / "fetched.onnx")["data"]
    assert (data["rows"], data["sha256"]) == (200, deployment.digest(given.path))
    with pytest.raises(InvalidData, match="a model replaces the champion if it is better: accuracy is"):
        deploy(model, metrics, given, "labels", only_if_better=True, **places)
    assert deployment.read(tmp_path / "serving")["labels"].version == "1"
    assert deploy(model, metrics, given, "other", only_if_better=True, **places) == {"version": "1"}
    with pytest.raises(InvalidParameter, match="only_if_better compares on held-out rows"):
        deploy(model, metrics, model_name="labels", only_if_better=True, **places)
    with pytest.raises(ConfigurationError, match="a deployment needs registry"):
        deploy(model, metrics, serving_dir="x")


def test_a_best_effort_of_a_search_is_deployed_only_where_that_is_asked_for_and_named_so(
    dataset: Any, trained: Any, new: Any, tmp_path: Any, caplog: pytest.LogCaptureFixture
) -> None:
    given = dataset(FEATURES)
    model, metrics = trained(given), new("m")
    model.metadata |= {"budget_met": False, "card": {"reason": "best effort: one row takes 30.00 ms"}}
    places = {"registry": f"sqlite:///{tmp_path}/registry/mlflow.db", "serving_dir": str(tmp_path / "serving")}
    with pytest.raises(InvalidData, match=r"one row takes 30\.00 ms.*or deploy it with best_effort=true"):
        deploy(model, metrics, given, "labels", **places)
    assert deployment.read(tmp_path / "serving") == {}
    assert deploy(model, metrics, given, "labels", best_effort=True, **places) == {"version": "1"}
    assert metrics.metadata["best_effort"] == "best effort: one row takes 30.00 ms"
    assert "outside of its limits" in caplog.text
    served = deployment.read(tmp_path / "serving")["labels"]
    card = deployment.card(tmp_path / "serving" / served.graph)
    assert card is not None
    assert card.metadata["budget_met"] is False


def test_a_champion_that_is_none_yet_is_told_as_that(tmp_path: Any) -> None:
    (tmp_path / "model").write_bytes(b"")  # what the champion step writes then
    with pytest.raises(InvalidGraph, match="no champion"):
        TabularModel(tmp_path / "model")
