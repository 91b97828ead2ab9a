"""Trees made of their arrays say what LightGBM, XGBoost and scikit-learn say, of missing values and neighbours in float32 too."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fleetml.learn.algorithms import CLASSIFICATION, REGRESSION
from fleetml.learn.forecaster import session
from fleetml.learn.tables import fit, trees

RANDOM = np.random.default_rng(0)
FULL = RANDOM.normal(size=(400, 6)).astype(np.float32)
GAPS = np.where(RANDOM.random(FULL.shape) < 0.1, np.float32(np.nan), FULL)
SCORE = FULL[:, 0] + FULL[:, 1] * FULL[:, 2]
TARGETS: dict[str, Any] = {
    "numbers": SCORE,
    "two classes": (SCORE > 0).astype(np.int64),
    "three classes": np.digitize(SCORE, (-0.7, 0.7)),
}


def fitted(algorithm: str, rows: fit.Floats, target: Any, **chosen: Any) -> Any:
    kind = REGRESSION if target.dtype == np.float32 else CLASSIFICATION
    task = fit.Task(kind, rows, target, rows, target, seed=0, threads=1)
    return fit.fit(algorithm, task, {"n_estimators": 12, **chosen})


def said(algorithm: str, model: Any, rows: fit.Floats, classifies: bool) -> fit.Floats:
    graph = fit.convert(algorithm, model, rows.shape[1], classifies)
    return np.asarray(session(graph.SerializeToString()).run(["said"], {"rows": rows})[0])


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("algorithm", ["lightgbm", "xgboost", "random_forest", "extra_trees"])
def test_trees_say_what_the_model_says(algorithm: str, target: str) -> None:
    model, classifies = fitted(algorithm, FULL, TARGETS[target]), target != "numbers"
    assert np.abs(said(algorithm, model, FULL, classifies) - fit.outputs(model, FULL, classifies)).max() < 1e-5


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("algorithm", ["lightgbm", "xgboost"])
@pytest.mark.parametrize("learnt", [FULL, GAPS])
def test_missing_values_go_where_the_model_sends_them(learnt: fit.Floats, algorithm: str, target: str) -> None:
    model, classifies = fitted(algorithm, learnt, TARGETS[target]), target != "numbers"
    assert np.abs(said(algorithm, model, GAPS, classifies) - fit.outputs(model, GAPS, classifies)).max() < 1e-5


@pytest.mark.parametrize("algorithm", ["lightgbm", "xgboost", "random_forest", "extra_trees"])
def test_a_tree_that_asks_nothing_is_a_leaf(algorithm: str) -> None:
    rows = np.ones((60, 2), np.float32)  # nothing to ask
    target = (np.arange(60) % 3).astype(np.float32)
    model = fitted(algorithm, rows, target)
    assert np.allclose(said(algorithm, model, rows, False), fit.outputs(model, rows, False), atol=1e-5)


@pytest.mark.parametrize("algorithm", ["lightgbm", "xgboost"])
def test_a_model_stopped_early_is_the_best_one(algorithm: str) -> None:
    target = (SCORE + np.random.default_rng(1).normal(size=400) > 0).astype(np.int64)
    task = fit.Task(CLASSIFICATION, FULL[:200], target[:200], FULL[200:], target[200:], seed=0, threads=1)
    model = fit.fit(algorithm, task, {"n_estimators": 200, "early_stopping": True})
    best = model.best_iteration_ if algorithm == "lightgbm" else model.best_iteration + 1
    (forest,) = (node for node in fit.convert(algorithm, model, 6, True).graph.node if node.op_type[:4] == "Tree")
    numbers = next(one.ints for one in forest.attribute if one.name == "nodes_treeids")
    assert len(set(numbers)) == best + (algorithm == "xgboost") < 200
    assert np.abs(said(algorithm, model, FULL, True) - fit.outputs(model, FULL, True)).max() < 1e-5


def test_neighbours_in_float32_go_to_different_sides_of_xgboost() -> None:
    low = np.float32(0.1)
    rows = np.where(np.arange(60) % 2, low, np.nextafter(low, np.float32(1))).astype(np.float32).reshape(-1, 1)
    model = fitted("xgboost", rows, (np.arange(60) % 2 * 3).astype(np.float32))
    assert np.abs(said("xgboost", model, rows, False) - fit.outputs(model, rows, False)).max() < 1e-5
    assert len(np.unique(fit.outputs(model, rows, False))) == 2


def test_thresholds_are_rounded_down() -> None:
    exact = np.array([0.1, -0.1, 1.0, 16777217.0, -1e-300])
    down = trees.rounded_down(exact)
    assert (down <= exact).all()
    assert (np.nextafter(down, np.float32(np.inf)).astype(np.float64) > exact).all()


def test_a_question_of_categories_is_refused() -> None:
    import lightgbm

    rows = np.stack([np.arange(200) % 7, np.arange(200)], axis=1).astype(np.float64)
    data = lightgbm.Dataset(rows, rows[:, 0] % 2, categorical_feature=[0])
    model = lightgbm.train({"verbose": -1, "min_data_in_leaf": 2, "min_data_per_group": 2, "num_threads": 1}, data, 2)
    with pytest.raises(ValueError, match="a question of categories has no threshold"):
        trees.of_lightgbm(model.model_to_string())


def test_the_depth_of_trees_is_what_a_row_is_asked_at_most() -> None:
    model = fitted("extra_trees", FULL, TARGETS["numbers"], max_depth=5)
    depths = sum(int(one.tree_.max_depth) for one in model.estimators_)
    assert trees.comparisons(fit.convert("extra_trees", model, 6, False)) == depths > 40
    linear = fit.convert("linear", fitted("linear", FULL, TARGETS["numbers"]), 6, False)
    assert trees.comparisons(linear) == 0
