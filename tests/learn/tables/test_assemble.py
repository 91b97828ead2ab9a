"""One graph of heads, members, combination and calibration; it says what Python says, or is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import polars as pl
import pytest

from fleetml.errors import InvalidData
from fleetml.learn.algorithms import ALGORITHMS
from fleetml.learn.graph import InvalidGraph
from fleetml.learn.tables.assemble import Combination, Ensemble, Stacking, Weights, stacked
from fleetml.learn.tables.equality import prove
from fleetml.learn.tables.model import TabularModel
from tests.learn.tables.conftest import learner

QUICK = {"mlp": {"max_iterations": 15}, "net": {"max_iterations": 5, "width": 16}, "linear": {}, "constant": {}}
TARGETS = ("label", "level", "price")


def members(known: Any) -> tuple[Any, ...]:
    return tuple(known.member(name, **QUICK.get(name, {"n_estimators": 15})) for name in ALGORITHMS)


def layer(known: Any, count: int) -> Stacking:
    width = max(1, len(known.about.classes))
    matrix = np.random.default_rng(0).normal(0.3, 0.2, (count * width, width)).astype(np.float32)
    return Stacking(matrix, np.linspace(-0.1, 0.1, width, dtype=np.float32), known.about.classifies)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("algorithm", [*ALGORITHMS, "net", "constant"])
def test_each_algorithm_is_a_graph_that_equals_python(learners: Any, algorithm: str, target: str) -> None:
    known = learners(target)
    one = known.member(algorithm, **QUICK.get(algorithm, {"n_estimators": 15}))
    made = Ensemble(known.heads, (one,), Weights((1.0,)), known.about)
    found = prove(made.graph(), made.predict, known.held)
    assert found.rows == len(known.held) + 200
    assert one.p50_ms > 0
    assert one.operations > 0 or algorithm == "constant"
    assert one.bytes == len(one.body.SerializeToString())


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("stacks", [False, True])
def test_an_ensemble_with_stacking_and_temperature_equals_python(learners: Any, target: str, stacks: bool) -> None:
    known = learners(target)
    some = members(known)
    shares = tuple(float(share) for share in np.arange(1, len(some) + 1) / sum(range(1, len(some) + 1)))
    how: Combination = layer(known, len(some)) if stacks else Weights(shares)
    made = Ensemble(known.heads, some, how, known.about, 1.0 if target == "price" else 1.7)
    graph = made.graph()
    prove(graph, made.predict, known.held)
    assert graph.SerializeToString() == made.graph().SerializeToString()
    said = TabularModel(graph.SerializeToString()).predict(known.held)
    if said.probabilities is not None:
        assert np.allclose(said.probabilities.sum(axis=1), 1, atol=1e-5)


def test_a_temperature_flattens_and_leaves_the_class(learners: Any) -> None:
    known = learners("level")
    some = (known.member("linear"),)
    plain, hot = (Ensemble(known.heads, some, Weights((1.0,)), known.about, t).predict(known.held) for t in (1.0, 3.0))
    assert plain.probabilities is not None
    assert hot.probabilities is not None
    assert hot.probabilities.max(axis=1).mean() < plain.probabilities.max(axis=1).mean() - 0.1
    assert (hot.prediction == plain.prediction).all()


def test_a_regression_stays_near_what_training_has_seen(learners: Any) -> None:
    known = learners("price")
    made = Ensemble(known.heads, (known.member("linear"),), Weights((50.0,)), known.about)  # far too large an answer
    low, high = known.train["price"].min(), known.train["price"].max()
    reach = 0.1 * (high - low)
    said = TabularModel(made.graph().SerializeToString()).predict(known.held).prediction
    assert said.min() == pytest.approx(low - reach, abs=1e-3)
    assert said.max() == pytest.approx(high + reach, abs=1e-3)


def test_a_stacking_layer_is_fitted_to_logarithms_of_probabilities() -> None:
    said = [np.array([[0.0, 1.0]], np.float32), np.array([[0.5, 0.5]], np.float32)]
    assert np.allclose(stacked(said, True), [[np.log(1e-5), 0, np.log(0.5), np.log(0.5)]])
    assert stacked(said, False).tolist() == [[0, 1, 0.5, 0.5]]


def flipped(graph: onnx.ModelProto) -> onnx.ModelProto:
    """Return the graph with one tree's first question the other way round."""
    for node in graph.graph.node:
        for attribute in node.attribute:
            if attribute.name == "nodes_values":
                attribute.floats[0] += 3
                return graph
    raise AssertionError("there is no tree")


def unscaled(graph: onnx.ModelProto) -> onnx.ModelProto:
    """Return the graph with a member's weight doubled."""
    for one in graph.graph.initializer:
        values = onnx.numpy_helper.to_array(one)
        if one.name.startswith("end/") and values.shape == (1,) and values[0] == np.float32(0.4):
            one.CopyFrom(onnx.numpy_helper.from_array(values * 2, one.name))
            return graph
    raise AssertionError("there is no weight")


@pytest.mark.parametrize("broken", [flipped, unscaled])
def test_a_graph_that_says_something_else_is_refused(learners: Any, broken: Any) -> None:
    known = learners("label")
    some = (known.member("lightgbm", n_estimators=15), known.member("linear"))
    made = Ensemble(known.heads, some, Weights((0.6, 0.4)), known.about)
    with pytest.raises(InvalidGraph, match="must predict what its Python model does, that of ensemble does not"):
        prove(broken(made.graph()), made.predict, known.held)


def test_an_unseen_category_and_nothing_at_all_are_answered(learners: Any) -> None:
    known = learners("label")
    made = Ensemble(known.heads, members(known), layer(known, len(ALGORITHMS)), known.about)
    asked = known.held[:2].with_columns(pl.Series("colour", ["violet", None]), pl.Series("street", ["none", None]))
    empty = asked.with_columns(pl.lit(None).cast(asked.schema[name]).alias(name) for name in ("size", "gap", "when"))
    for frame in (asked, empty):
        said = TabularModel(made.graph().SerializeToString()).predict(frame)
        assert said.probabilities is not None
        assert np.isfinite(said.probabilities).all()
        assert set(said.prediction) <= {"dear", "cheap"}


def test_a_feature_called_as_an_output_is_refused(learners: Any) -> None:
    from dataclasses import replace

    known = learners("label")
    about = replace(known.about, features=(replace(known.about.features[0], name="prediction"),))
    with pytest.raises(InvalidData, match="rename 'prediction'"):
        Ensemble(known.heads, (known.member("constant"),), Weights((1.0,)), about).graph()


def test_the_same_rows_are_the_same_bytes() -> None:
    def once() -> bytes:
        known = learner("level")
        some = (known.member("xgboost", n_estimators=5), known.member("extra_trees", n_estimators=5))
        return Ensemble(known.heads, some, layer(known, 2), known.about, 1.3).graph().SerializeToString()

    assert once() == once()
