"""Every algorithm ends as one graph that reads raw columns; transformations are part of it."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import onnx
import polars as pl
import pytest

from components.tabular import table
from components.tabular.deploy import deploy
from components.tabular.evaluate import evaluate, validate
from components.tabular.model import TabularModel
from components.tabular.predict import predict
from components.tabular.table import CATEGORICAL, NUMERIC, Feature
from components.tabular.transformations import ROWS, arrays, graph
from components.tabular.tune import tune
from fleetml.errors import ConfigurationError, InvalidData, InvalidParameter
from fleetml.learn.algorithms import ALGORITHMS
from fleetml.learn.forecaster import session
from fleetml.learn.graph import InvalidGraph
from fleetml.learn.search import SearchFailed
from fleetml.serving import deployment
from fleetml.serving.registry import Registry
from tests.components.tabular.conftest import rows

FEATURES: list[Any] = ["age", {"name": "income", "transformations": ["log", "standard_scale"]}, "city"]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_each_algorithm_learns_classes_from_raw_columns(dataset: Any, trained: Any, algorithm: str) -> None:
    given = dataset(FEATURES)
    model = trained(given, algorithm=algorithm)
    known = TabularModel(model.path)
    said = known.predict(rows(60, seed=9))
    truth = rows(60, seed=9)["label"].to_numpy()
    assert (said.prediction == truth).mean() > (0.5 if algorithm == "linear" else 0.8)
    assert said.probabilities is not None
    assert np.allclose(said.probabilities.sum(axis=1), 1, atol=1e-4)
    assert model.metadata["algorithm"] == algorithm
    assert next(iter(model.metadata["metrics"])) == "accuracy"


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_each_algorithm_learns_numbers(dataset: Any, trained: Any, algorithm: str) -> None:
    given = dataset(["age", "income", "city"], target="spend")
    model = trained(given, algorithm=algorithm)
    assert model.metadata["validation"]["r2"] > 0.8
    said = TabularModel(model.path).predict(rows(40, seed=5))
    assert said.probabilities is None
    assert np.abs(said.prediction - rows(40, seed=5)["spend"].to_numpy()).mean() < 60


@pytest.mark.parametrize("algorithm", ["xgboost", "lightgbm", "mlp"])
def test_early_stopping_ends_the_training(dataset: Any, trained: Any, algorithm: str) -> None:
    given = dataset(FEATURES)
    early = trained(given, algorithm=algorithm, early_stopping=True, max_iterations=400)
    assert early.metadata["validation"]["accuracy"] > 0.8
    if algorithm != "mlp":  # whose graph has one size
        whole = trained(given, algorithm=algorithm, max_iterations=400)
        assert early.metadata["size_bytes"] < whole.metadata["size_bytes"] * 0.6


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_values_that_are_neighbours_in_float32_stay_apart(
    tmp_path: Any, new: Any, trained: Any, algorithm: str
) -> None:
    from components.tabular.prepare import prepare

    places = np.arange(400) % 2
    x = np.where(places == 0, np.float32(0.1), np.nextafter(np.float32(0.1), np.float32(1)))
    pl.DataFrame({"x": x, "y": np.arange(400) % 7, "target": places * 2.5 + 0.1}).write_parquet(tmp_path / "t.parquet")
    made = new("made")
    prepare(str(tmp_path / "t.parquet"), made, new("m"), objective="regression")
    model = trained(made, algorithm=algorithm)
    if algorithm in ("xgboost", "lightgbm"):  # scikit-learn itself splits no closer than 1e-7
        assert model.metadata["validation"]["mae"] < 0.01


def test_the_same_training_is_the_same_bytes(dataset: Any, trained: Any) -> None:
    given = dataset(FEATURES)
    first = trained(given, algorithm="lightgbm", threads=2).path.read_bytes()
    assert trained(given, algorithm="lightgbm", threads=2).path.read_bytes() == first


@pytest.mark.parametrize(
    ("values", "kind"), [([0, 1], "int64"), ([True, False], "bool"), ([0.0, 1.0], "int64"), (["n", "y", "z"], "object")]
)
def test_classes_come_back_as_they_were(tmp_path: Any, new: Any, trained: Any, values: list[Any], kind: str) -> None:
    from components.tabular.prepare import prepare

    frame = pl.DataFrame({"x": range(60), "label": [values[i // 20 % len(values)] for i in range(60)]})
    frame.write_parquet(tmp_path / "t.parquet")
    made = new("made")
    prepare(str(tmp_path / "t.parquet"), made, new("m"))
    said = TabularModel(trained(made, n_estimators=10).path).predict(frame)
    assert said.prediction.dtype == kind
    assert (said.prediction == frame["label"].to_numpy()).mean() > 0.9


def head(frame: pl.DataFrame, *features: Feature) -> np.ndarray[Any, Any]:
    runner = session(graph(frame, features).SerializeToString())
    return np.asarray(runner.run([ROWS], dict(arrays(frame, features)))[0])


def test_transformations_compute_what_they_say() -> None:
    x = pl.DataFrame({"x": [0.0, 1.0, 3.0, None]})  # the missing one is the median, 1
    now = np.array([0.0, 1, 3, 1])
    expected = {
        "standard_scale": (now - now.mean()) / now.std(),
        "min_max": now / 3,
        "robust_scale": (now - 1) / (np.quantile(now, 0.75) - np.quantile(now, 0.25)),
        "log": np.log1p(now),
        "ordinal": np.array([0, 1, 2, 1]),
    }
    for kind, values in expected.items():
        assert np.allclose(head(x, Feature("x", NUMERIC, (kind,)))[:, 0], values, atol=1e-5), kind
    assert head(x, Feature("x", NUMERIC, ("one_hot",))).tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 1, 0]]
    chained = head(x, Feature("x", NUMERIC, ("log", "min_max")))[:, 0]
    assert np.allclose(chained, np.log1p(now) / np.log(4), atol=1e-5)
    assert np.isfinite(head(pl.DataFrame({"x": [2.0, 2.0]}), Feature("x", NUMERIC, ("standard_scale",)))).all()


def test_categories_and_what_training_has_not_seen() -> None:
    frame = pl.DataFrame({"c": ["b", "a", None, "b"]})
    assert head(frame, Feature("c", CATEGORICAL)).tolist() == [[0, 1], [1, 0], [0, 0], [0, 1]]
    assert head(frame, Feature("c", CATEGORICAL, ("ordinal",)))[:, 0].tolist() == [1, 0, -1, 1]
    runner = session(graph(frame, (Feature("c", CATEGORICAL),)).SerializeToString())
    assert runner.run([ROWS], {"c": np.array([["new"]], dtype=object)})[0].tolist() == [[0, 0]]


def test_log_of_what_has_none_is_refused() -> None:
    with pytest.raises(InvalidData, match="takes values above -1, feature 'x' holds -3"):
        head(pl.DataFrame({"x": [-3.0, 1.0]}), Feature("x", NUMERIC, ("log",)))


@pytest.mark.parametrize(
    ("features", "said"),
    [
        (["agee"], r"features\[0\].name must be a column of the data, got 'agee'"),
        ([{"name": "age", "type": "complex"}], r"features\[0\].type must be one of"),
        ([{"name": "age", "transformations": ["cube"]}], r"features\[0\].transformations must be of"),
        ([{"name": "city", "transformations": "log"}], "log transforms numbers, feature 'city' is categorical"),
        (["age", "age"], "a feature is named once, 'age'"),
        ([3], r"features\[0\] has name, type and transformations, got 3"),
    ],
)
def test_features_that_cannot_be_are_refused(dataset: Any, features: list[Any], said: str) -> None:
    with pytest.raises(InvalidParameter, match=said):
        dataset(features)


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"algorithm": "svm"}, "algorithm: must be one of linear, random_forest"),
        ({"learning_rate": 0.1}, "no learning_rate, .*; remove it, or choose xgboost or lightgbm or mlp"),
        ({"n_estimators": 5, "max_iterations": 5}, "the same as n_estimators for an ensemble of trees"),
        ({"algorithm": "mlp", "optimizer": "lion"}, "optimizer: must be one of adam, sgd"),
        ({"n_estimators": 0}, "n_estimators: must be positive, got 0"),
        ({"objective": "ranking"}, "objective must be one of"),
    ],
)
def test_parameters_that_cannot_be_are_refused(dataset: Any, trained: Any, parameters: Any, said: str) -> None:
    with pytest.raises(InvalidParameter, match=said):
        trained(dataset(), **parameters)


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
    with pytest.raises(InvalidData, match="a model must beat a constant"):
        validate(made, model, new("m"))
    validate(made, model, new("m"), beats_constant=False)


def test_predictions_of_a_file_and_of_a_dataset(dataset: Any, trained: Any, new: Any, csv: Any, tmp_path: Any) -> None:
    model, out = trained(dataset(FEATURES)), new("out")
    copy = tmp_path / "elsewhere" / "copy.parquet"
    predict(model, out, new("m"), dataset_path=str(csv), output_path=str(copy))
    made = pl.read_parquet(out.path)
    assert made.columns[-2:] == ["prediction", "probability"]
    assert copy.read_bytes() == out.path.read_bytes()
    predict(model, out, new("m"), dataset=dataset())
    assert len(pl.read_parquet(out.path)) == 200
    with pytest.raises(InvalidParameter, match="batch inference needs rows"):
        predict(model, out, new("m"))
    bare = tmp_path / "bare.csv"
    bare.write_text("age\n3\n")
    with pytest.raises(InvalidData, match="the data must hold the feature 'income'"):
        predict(model, out, new("m"), dataset_path=str(bare))


def test_tuning_finds_the_best_of_its_trials(dataset: Any, new: Any) -> None:
    model, board, metrics = new("model"), new("board"), new("m")
    space = {
        "max_depth": {"type": "integer", "min": 1, "max": 8},
        "n_estimators": {"type": "categorical", "values": [5, 20]},
    }
    tune(dataset(FEATURES), model, board, metrics, "random_forest", search_space=space, max_trials=5)
    trials = pl.read_parquet(board.path)
    assert len(trials) == 5
    assert metrics.metadata["accuracy"] == round(trials["accuracy"].max(), 4)
    best = json.loads(trials.sort("accuracy", descending=True, maintain_order=True)["hyperparameters"][0])
    assert TabularModel(model.path).about.hyperparameters == best


def test_tuning_tries_every_algorithm_and_goes_the_metrics_way(dataset: Any, new: Any) -> None:
    model, board, metrics = new("model"), new("board"), new("m")
    given = dataset(["age", "income"], target="spend")
    tune(given, model, board, metrics, max_trials=5, objective_metric="mae")
    trials = pl.read_parquet(board.path)
    assert set(trials["algorithm"]) == set(ALGORITHMS)
    assert metrics.metadata["mae"] == round(trials["mae"].min(), 4)


def test_a_trial_whose_graph_is_wrong_does_not_end_the_search(
    dataset: Any, new: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from components.tabular import train

    monkeypatch.setattr(train, "TOLERANCE", -1.0)  # no graph is good enough
    board = new("board")
    with pytest.raises(SearchFailed, match="every trial failed, the last: InvalidGraph: a graph must predict what"):
        tune(dataset(), new("model"), board, new("m"), "linear", max_trials=2)


def test_a_search_that_cannot_be_is_refused(dataset: Any, new: Any) -> None:
    outputs = (new("model"), new("board"), new("m"))
    space = {"max_depth": {"type": "integer", "min": 1, "max": 8}}
    for parameters, said in [
        ({"search_space": space}, "is that of one algorithm"),
        ({"search_space": space, "algorithm": "linear"}, "max_depth: linear has no max_depth"),
        ({"max_trials": 0}, "must be at least 1"),
        ({"objective_metric": "mae"}, "objective_metric of a classification must be one of accuracy"),
    ]:
        with pytest.raises(InvalidParameter, match=said):
            tune(dataset(), *outputs, **parameters)


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


def test_columns_may_be_called_anything_but_the_outputs(tmp_path: Any, new: Any, trained: Any) -> None:
    from components.tabular.prepare import prepare

    names = ["rows", "classes", "said", "constant_0", "where_2", "column_1", "a b/ü"]
    frame = pl.DataFrame({name: [(row * place) % 17 for row in range(80)] for place, name in enumerate(names, 1)})
    frame = frame.with_columns(pl.when(pl.col("rows") > 8).then(pl.lit("y")).otherwise(pl.lit("n")).alias("label"))
    frame.write_csv(tmp_path / "t.csv")
    made = new("made")
    prepare(str(tmp_path / "t.csv"), made, new("m"))
    said = TabularModel(trained(made, n_estimators=20).path).predict(frame)
    assert (said.prediction == frame["label"].to_numpy()).mean() > 0.9
    frame.rename({"said": "prediction"}).write_csv(tmp_path / "t.csv")
    prepare(str(tmp_path / "t.csv"), made, new("m"))
    with pytest.raises(InvalidData, match="rename 'prediction'"):
        trained(made)


def test_a_graph_of_another_make_is_refused(tmp_path: Any) -> None:
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Identity", ["a"], ["b"])],
        "g",
        [onnx.helper.make_tensor_value_info("a", 1, [1])],
        [onnx.helper.make_tensor_value_info("b", 1, [1])],
    )
    opsets = [onnx.helper.make_opsetid("", 18)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opsets, ir_version=10), tmp_path / "other.onnx")
    with pytest.raises(InvalidGraph, match="a tabular model must carry"):
        TabularModel(tmp_path / "other.onnx")
    assert table.infer(pl.DataFrame({"a": [[1]]}), "a") == ""


def test_a_champion_that_is_none_yet_is_told_as_that(tmp_path: Any) -> None:
    (tmp_path / "model").write_bytes(b"")  # what the champion step writes then
    with pytest.raises(InvalidGraph, match="no champion"):
        TabularModel(tmp_path / "model")
