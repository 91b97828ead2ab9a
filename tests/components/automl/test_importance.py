import time

import numpy as np
import polars as pl
import pytest

from components.automl import importance
from components.automl.importance import permutation, shapley
from components.automl.losses import rmse
from fleetml.learn.tables import fit
from fleetml.learn.tables.assemble import Ensemble, Weights
from fleetml.learn.tables.heads import DENSE, heads
from fleetml.learn.tables.members import member
from fleetml.learn.tables.model import TabularModel
from fleetml.learn.tables.table import Feature, Recipe
from fleetml.learn.tables.target import described, learnt


@pytest.fixture(scope="module")
def model():
    """Return the graph of 3 a + b, which c has nothing to do with, its rows and target."""
    random = np.random.default_rng(0)
    frame = pl.DataFrame(random.normal(size=(200, 3)), schema=["a", "b", "c"])
    frame = frame.with_columns((3 * pl.col("a") + pl.col("b")).alias("y"))
    recipe = Recipe("y", "regression", tuple(Feature(name, "numeric") for name in "abc"))
    about = described(recipe, "linear", {}, frame["y"])
    target = learnt(about, frame["y"])
    made = heads(frame, recipe, target, np.arange(200) % 5)
    rows = made.rows[DENSE]
    one = member(made, "linear", fit.fit("linear", fit.Task("regression", rows, target, rows, target, 0, 1), {}), False)
    graph = Ensemble(made, (one,), Weights((1.0,)), about).graph()
    return TabularModel(graph.SerializeToString()), frame, target


def test_columns_are_told_in_the_order_of_what_they_matter(model):
    end = time.monotonic() + 60
    dealt = permutation(*model, rmse, 0, end)
    assert list(dealt) == ["a", "b", "c"]
    assert dealt["a"] > 2 * dealt["b"] > 20 * abs(dealt["c"])
    values = shapley(model[0], model[1], 0, end)
    assert list(values) == ["a", "b", "c"]
    assert values["a"] / values["b"] == pytest.approx(3, rel=0.3)


def test_after_the_deadline_nothing_is_asked(model):
    assert permutation(*model, rmse, 0, time.monotonic()) == {}
    assert shapley(model[0], model[1], 0, time.monotonic()) == {}


def test_what_does_not_fit_before_the_deadline_is_not_begun(model, monkeypatch):
    now, asked = [0.0], []

    class Slow:
        about = model[0].about

        def predict(self, frame):
            now[0] += len(frame) / 100
            asked.append(len(frame))
            return model[0].predict(frame)

    monkeypatch.setattr(importance.time, "monotonic", lambda: now[0])
    assert permutation(Slow(), *model[1:], rmse, 0, 30.0) == {}
    assert asked == [200]  # a column takes 20 times as long: 40 seconds
    assert shapley(Slow(), model[1], 0, now[0] + 2.0) == {}
    assert asked[1:] == [60]
