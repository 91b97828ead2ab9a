"""Categories, zeros and missing values, as each library's trees take them: the graph answers as the original does."""

import sys
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import onnx
import pytest
import skops.io
import xgboost
from onnxruntime import InferenceSession
from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.tree import DecisionTreeRegressor

from fleetml.errors import InvalidData, InvalidParameter
from fleetml.imports.sources import forests, trees
from fleetml.imports.sources import lightgbm as of_lightgbm
from fleetml.imports.sources import skops as of_skops
from fleetml.imports.sources import xgboost as of_xgboost
from tests.imports.models import CLASS, NUMBER, ROWS

_RANDOM = np.random.default_rng(0)
_CODES = _RANDOM.integers(0, 30, 600)
_MEASURED = np.where(_RANDOM.random(600) < 0.3, 0, _RANDOM.normal(size=600))
TABLE = np.stack([_CODES, _RANDOM.integers(0, 3, 600), _MEASURED], axis=1).astype(np.float32)
TARGET = _RANDOM.normal(size=30)[_CODES] * 3 + _MEASURED + 2 * (_MEASURED == 0)
FIRST = np.array([[1.0, 0.0, 0.0]])


def asked() -> dict[str, Any]:
    """Return rows that the trees have seen, and such as they never saw."""
    first, last = FIRST.astype(bool), FIRST[:, ::-1].astype(bool)
    changed = {
        "seen": TABLE,
        "unseen": np.where(first, TABLE + 30, TABLE),
        "missing": np.where(first, np.nan, TABLE),
        "missing number": np.where(last, np.nan, TABLE),
        "negative": np.where(first, -TABLE - 1, TABLE),
        "just negative": np.where(first, -0.5, TABLE),
        "fraction": np.where(first, TABLE + 0.7, TABLE),
        "huge": np.where(first, 3e9, TABLE),
        "nearly zero": np.where(last, 1e-38, TABLE),
    }
    return {name: rows.astype(np.float32) for name, rows in changed.items()}


def require_equal(source: Any) -> None:
    depth = sys.getrecursionlimit()
    session = InferenceSession(source.graph().SerializeToString())
    assert sys.getrecursionlimit() == depth  # what else recurses would overrun its stack
    for name, rows in asked().items():
        said = session.run(None, {trees.ROWS: rows})[-1]
        np.testing.assert_allclose(said, source.run({trees.ROWS: rows})[-1], rtol=1e-4, atol=1e-4, err_msg=name)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "original"


@pytest.mark.parametrize(
    ("categories", "parameters"),
    [
        ([0, 1], {}),
        ([0, 1], {"max_cat_to_onehot": 1, "cat_smooth": 0, "min_data_per_group": 1}),
        ([0], {"zero_as_missing": True}),
        ([], {"zero_as_missing": True}),
        ([], {"use_missing": False}),
    ],
)
def test_lightgbm(path: Path, categories: list[int], parameters: dict[str, Any]) -> None:
    known = {"objective": "regression", "verbose": -1, "num_threads": 1, "num_leaves": 15, **parameters}
    data = lightgbm.Dataset(TABLE, TARGET, categorical_feature=categories)
    path.write_text(lightgbm.train(known, data, 8).model_to_string())
    require_equal(of_lightgbm.open(path, {}))


def test_lightgbm_with_lines_in_leaves(path: Path) -> None:
    known = {"objective": "regression", "verbose": -1, "num_threads": 1, "linear_tree": True}
    path.write_text(lightgbm.train(known, lightgbm.Dataset(TABLE, TARGET), 2).model_to_string())
    with pytest.raises(InvalidData, match="train without it"):
        of_lightgbm.open(path, {})


@pytest.mark.parametrize("parameters", [{}, {"max_cat_to_onehot": 100}, {"objective": "binary:logistic"}])
def test_xgboost(path: Path, parameters: dict[str, Any]) -> None:
    target = TARGET > 0 if parameters.get("objective") else TARGET
    data = xgboost.DMatrix(TABLE, target, feature_types=["c", "c", "q"], enable_categorical=True)
    path.write_bytes(xgboost.train({"max_depth": 5, "nthread": 1, **parameters}, data, 8).save_raw("json"))
    require_equal(of_xgboost.open(path, {}))


def test_xgboost_takes_no_infinite_samples(path: Path) -> None:
    path.write_bytes(xgboost.train({"max_depth": 2}, xgboost.DMatrix(TABLE, TARGET), 2).save_raw("ubj"))
    with pytest.raises(InvalidParameter, match="leave those rows out"):
        of_xgboost.open(path, {}).run({trees.ROWS: np.full((1, 3), np.inf, np.float32)})


def with_gaps() -> Any:
    return np.where(_RANDOM.random(ROWS.shape) < 0.2, np.nan, ROWS).astype(np.float32)


@pytest.mark.parametrize(
    "model",
    [
        DecisionTreeRegressor(max_depth=6).fit(with_gaps(), NUMBER),
        RandomForestClassifier(5, random_state=0).fit(with_gaps(), CLASS),
        HistGradientBoostingRegressor(max_iter=5).fit(with_gaps(), NUMBER),
        make_pipeline(SimpleImputer(), Ridge()).fit(with_gaps(), NUMBER),
    ],
    ids=lambda model: type(model).__name__,
)
def test_scikit_learn_sends_missing_values_the_same_way(path: Path, model: Any) -> None:
    skops.io.dump(model, path)
    source = of_skops.open(path, {})
    assert source.missing, "drawn rows hold missing values then"
    rows = with_gaps()
    said = InferenceSession(source.graph().SerializeToString()).run(None, {trees.ROWS: rows})
    for one, other in zip(said, source.run({trees.ROWS: rows}), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)


def test_what_takes_no_missing_values_is_asked_none(path: Path) -> None:
    skops.io.dump(Ridge().fit(ROWS, NUMBER), path)
    assert not of_skops.open(path, {}).missing


def test_histogram_boosting_on_categories(path: Path) -> None:
    skops.io.dump(HistGradientBoostingRegressor(max_iter=2, categorical_features=[0]).fit(TABLE, TARGET), path)
    with pytest.raises(InvalidData, match="OneHotEncoder or OrdinalEncoder"):
        of_skops.open(path, {})


@pytest.mark.parametrize("bitset", [0, 10**6])
def test_a_node_that_names_a_bitset_which_may_not_be_there(path: Path, bitset: int) -> None:
    boosted = HistGradientBoostingRegressor(max_iter=1).fit(ROWS, NUMBER)
    nodes = boosted._predictors[0][0].nodes
    nodes["is_categorical"], nodes["bitset_idx"] = 1, bitset
    skops.io.dump(boosted, path)
    with pytest.raises(InvalidData) as told:
        of_skops.open(path, {})
    assert str(told.value) == forests.CATEGORIES


def test_trees_of_the_graph_that_are_not_the_files_stay_as_they_are() -> None:
    model = onnx.ModelProto()
    node = model.graph.node.add(op_type="TreeEnsembleRegressor", domain="ai.onnx.ml")
    for name in ("treeids", "nodeids", "featureids", "truenodeids", "falsenodeids", "missing_value_tracks_true"):
        node.attribute.append(onnx.helper.make_attribute(f"nodes_{name}", [1]))
    node.attribute.append(onnx.helper.make_attribute("nodes_values", [0.5]))
    node.attribute.append(onnx.helper.make_attribute("nodes_modes", ["LEAF"]))
    before = model.SerializeToString()
    forests.tell_missing(model, [])
    assert model.SerializeToString() == before
