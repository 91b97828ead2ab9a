"""Models are judged beside a constant, on rows nothing was chosen by."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import polars as pl
import pytest

from components.tabular.evaluate import evaluate, validate
from fleetml.errors import InvalidData, InvalidParameter
from tests.components.tabular.conftest import FEATURES


def test_evaluation_is_beside_a_constant_on_rows_nothing_was_chosen_by(dataset: Any, trained: Any, new: Any) -> None:
    given = dataset(FEATURES)
    model, result, metrics = trained(given), new("result"), new("m")
    evaluate(given, model, result, metrics)
    found = json.loads(result.path.read_text())
    assert (found["split"], found["rows"]) == ("test", 20)
    assert found["model"]["accuracy"] > found["constant"]["accuracy"]
    assert set(found["model"]) == {"accuracy", "f1", "log_loss", "roc_auc"}
    assert next(iter(metrics.metadata)) == "accuracy"


def test_without_test_rows_the_validation_rows_are_judged(dataset: Any, trained: Any, new: Any) -> None:
    given = dataset(["age", "income"], target="spend", test_split=0.0)
    result = new("result")
    evaluate(given, trained(given), result, new("m"))
    found = json.loads(result.path.read_text())
    assert (found["split"], set(found["model"])) == ("validation", {"rmse", "mae", "r2"})
    assert found["model"]["rmse"] < found["constant"]["rmse"]


def test_rows_that_a_model_has_learnt_from_do_not_judge_it(dataset: Any, trained: Any, new: Any) -> None:
    given = dataset(["age", "income"], target="spend", test_split=0.0)
    model = trained(given)
    model.metadata["learnt_from"] = ["train", "validation"]  # as AutoML writes it
    for judged in (lambda: evaluate(given, model, new("result"), new("m")), lambda: validate(given, model, new("m"))):
        with pytest.raises(InvalidData, match="learnt from train and validation, and the dataset has no test rows"):
            judged()


def test_the_metric_of_the_search_is_what_the_constant_is_beaten_by(dataset: Any, trained: Any, new: Any) -> None:
    given = dataset(FEATURES)
    model, metrics = trained(given), new("m")
    model.metadata["metric"] = "log_loss"
    evaluate(given, model, new("result"), metrics)
    assert next(iter(metrics.metadata)) == "log_loss"
    assert metrics.metadata["constant_log_loss"] > metrics.metadata["log_loss"]


def test_validation_lets_a_good_model_pass_and_stops_others(dataset: Any, trained: Any, new: Any) -> None:
    given = dataset(FEATURES)
    model = trained(given)
    validate(given, model, new("m"), {"accuracy": 0.7, "log_loss": 2.0})
    for thresholds, said in [({"accuracy": 1.1}, "must reach accuracy >= 1.1"), ({"log_loss": 0.0}, "log_loss <= 0.0")]:
        with pytest.raises(InvalidData, match=said):
            validate(given, model, new("m"), thresholds)
    for wrong, said in [({"rmse": 1}, "has the metrics"), ({"accuracy": "high"}, "must be a number")]:
        with pytest.raises(InvalidParameter, match=said):
            validate(given, model, new("m"), wrong)


def test_a_model_that_is_no_better_than_a_constant_is_refused(tmp_path: Any, new: Any, trained: Any) -> None:
    from components.tabular.prepare import prepare

    random = np.random.default_rng(1)
    pl.DataFrame({"x": random.normal(size=600), "target": random.normal(size=600)}).write_csv(tmp_path / "t.csv")
    made = new("made")
    prepare(str(tmp_path / "t.csv"), made, new("m"))
    model = trained(made, algorithm="xgboost")
    with pytest.raises(InvalidData, match=r"a model must beat a constant.*; give features that tell something"):
        validate(made, model, new("m"))
    model.metadata["card"] = {"reason": "the budget was too small for one trial"}
    with pytest.raises(
        InvalidData, match="its search says: the budget was too small for one trial; give that more seconds"
    ):
        validate(made, model, new("m"))
    validate(made, model, new("m"), beats_constant=False)
