"""Every algorithm ends as one graph that reads raw columns; transformations are part of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import polars as pl
import pytest

from components.tabular.predict import predict
from fleetml.errors import InvalidData, InvalidParameter
from fleetml.learn.algorithms import ALGORITHMS
from fleetml.learn.graph import InvalidGraph
from fleetml.learn.tables import table
from fleetml.learn.tables.model import TabularModel
from tests.components.tabular.conftest import FEATURES, rows


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
