"""Transformations are part of the graph, and compute what they say."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest

from fleetml.errors import InvalidData
from fleetml.learn.forecaster import session
from fleetml.learn.tables.table import CATEGORICAL, NUMERIC, Feature
from fleetml.learn.tables.transformations import ROWS, arrays, graph


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
