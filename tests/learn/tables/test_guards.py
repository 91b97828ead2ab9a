"""Columns that tell nothing are left out and told, columns that tell too much are named."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest

from fleetml.errors import InvalidData
from fleetml.learn.tables.guards import MOST_COLUMNS, Guarded, guarded, single_scores
from fleetml.learn.tables.heads import heads
from fleetml.learn.tables.table import Feature, Recipe, type_of
from fleetml.learn.tables.target import described

COUNT = 200
RANDOM = np.random.default_rng(0)
TARGET = (np.arange(COUNT) % 3 == 0).astype(np.int64)
NOISE, SIZES = RANDOM.normal(size=COUNT), np.exp(RANDOM.normal(size=COUNT))


def guard(
    frame: pl.DataFrame, target: np.ndarray[tuple[int], np.dtype[np.generic]] = TARGET, classes: int = 2
) -> Guarded:
    features = tuple(Feature(column.name, type_of(column.dtype)) for column in frame.get_columns())
    kind = "classification" if classes else "regression"
    return guarded(frame, Recipe("target", kind, features), target, classes)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([None] * COUNT, "column 'x' is left out: no row has a value"),
        ([float("nan")] * COUNT, "column 'x' is left out: no row has a value"),
        ([4] * COUNT, "column 'x' is left out: all rows hold the same value"),
        ([f"id {row}" for row in range(COUNT)], "column 'x' is left out: each row holds a text of its own"),
    ],
)
def test_a_column_that_tells_nothing_is_left_out(values: list[object], said: str) -> None:
    dtype = pl.Float64 if values[0] is None else None
    made = guard(pl.DataFrame({"y": NOISE, "x": pl.Series(values, dtype=dtype)}))
    assert [feature.name for feature in made.recipe.features] == ["y"]
    assert made.notes == (said,)


def test_whether_a_value_is_there_may_tell_something() -> None:
    made = guard(pl.DataFrame({"y": NOISE, "x": [1.0 if row % 2 else None for row in range(COUNT)]}))
    assert [feature.name for feature in made.recipe.features] == ["y", "x"]


def test_texts_among_numbers_are_told() -> None:
    values = [str(row % 9) if row % 20 else "n/a" for row in range(COUNT)]
    made = guard(pl.DataFrame({"y": NOISE, "x": values}))
    assert len(made.recipe.features) == 2
    assert "column 'x' mixes types: 190 rows hold numbers, 10 texts such as 'n/a'; it is taken as cat" in made.notes[0]
    assert not guard(pl.DataFrame({"y": NOISE, "x": ["a", "b"] * (COUNT // 2)})).notes


@pytest.mark.parametrize("kind", ["number", "category", "date"])
def test_a_column_that_is_the_target_is_suspected(kind: str) -> None:
    leak = {
        "number": TARGET * 5.0 + NOISE / 100,
        "category": np.where(TARGET == 1, "paid", "open"),
        "date": [date(2020, 1, 1) + timedelta(days=int(paid) * 400 + row % 30) for row, paid in enumerate(TARGET)],
    }[kind]
    made = guard(pl.DataFrame({"y": NOISE + TARGET, "leak": leak}))
    assert made.suspects == ("leak",)
    assert "column 'leak' alone tells the target (score 1.0000 of 1, the next 0.7" in made.notes[0]
    assert len(made.recipe.features) == 2  # a warning: the user knows


def test_a_regression_s_target_on_another_scale_is_suspected() -> None:
    target = SIZES
    made = guard(pl.DataFrame({"y": NOISE + target, "leak": np.log(target) + NOISE / 1e4}), target, 0)
    assert made.suspects == ("leak",)
    assert not guard(pl.DataFrame({"y": NOISE + target, "honest": np.log(target) + NOISE / 5}), target, 0).suspects


def test_an_easy_target_is_not_suspected() -> None:
    def beaten(by: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        """All rows of class 1 are above those of class 0, but one that so many of these exceed."""
        values = np.where(TARGET == 1, 1000.0, np.cumsum(TARGET == 0))
        values[0] = (TARGET == 0).sum() - by + 0.5
        return values

    easy = pl.DataFrame({"x": beaten(4), "y": beaten(20), "z": beaten(20)})
    scores = single_scores(easy, tuple(Feature(name, "numeric") for name in easy.columns), TARGET, 2)
    assert scores[0] > 0.999 > scores[1] > 0.99
    assert not guard(easy).suspects


def test_of_100000_columns_those_that_tell_most_are_kept() -> None:
    values = np.random.default_rng(2).normal(size=(40, 100_000)).astype(np.float32)
    target = (np.arange(40) % 2).astype(np.int64)
    values[:, 77_777] += 2 * target
    made = guard(pl.DataFrame(values, schema=[f"c{at}" for at in range(100_000)]), target)
    names = [feature.name for feature in made.recipe.features]
    assert len(names) == MOST_COLUMNS
    assert "c77777" in names
    assert names == sorted(names, key=lambda name: int(name[1:]))
    assert "100000 columns are more than the 2000 a graph takes: those that tell most are kept" in made.notes


@pytest.mark.parametrize("count", [1, 5])
def test_too_few_rows_are_refused(count: int) -> None:
    frame = pl.DataFrame({"x": range(count)})
    with pytest.raises(InvalidData, match=f"at least 10 rows, got {count}; give more"):
        guarded(frame, Recipe("t", "classification", (Feature("x", "numeric"),)), TARGET[:count], 2)


def test_no_column_that_varies_is_refused() -> None:
    with pytest.raises(InvalidData, match="a column that varies, got none of 1; give more columns"):
        guard(pl.DataFrame({"x": [1] * COUNT}))


@pytest.mark.parametrize(
    ("kind", "values", "said"),
    [
        ("classification", ["a"] * 20, r"must hold two classes of 't', got \('a',\); give more"),
        (
            "classification",
            [0.5, 1.5] * 10,
            "classes are whole numbers or texts, column 't' holds Float64; use objective",
        ),
        ("regression", [3.0] * 20, "the target 't' must vary, all 20 training rows hold .3.*; name another column"),
        ("regression", [float("nan"), 1.0] * 10, "must be known in every row; leave out the others"),
    ],
)
def test_a_target_that_cannot_be_learnt_is_refused(kind: str, values: list[object], said: str) -> None:
    with pytest.raises(InvalidData, match=said):
        described(Recipe("t", kind, ()), "linear", {}, pl.Series("t", values))


def test_a_column_of_the_wrong_type_is_refused() -> None:
    for kind, said in (("numeric", "'x' must hold numbers"), ("date", "'x' must hold dates")):
        recipe = Recipe("t", "classification", (Feature("x", kind),))
        with pytest.raises(InvalidData, match=said):
            heads(pl.DataFrame({"x": ["a", "b"]}), recipe, np.array([0, 1]), np.array([0, 1]), classes=2)


def test_scores_of_one_column_are_areas_and_correlations() -> None:
    from sklearn.metrics import roc_auc_score

    frame = pl.DataFrame({"x": NOISE + TARGET, "y": -NOISE})
    features = (Feature("x", "numeric"), Feature("y", "numeric"))
    areas = [roc_auc_score(TARGET, frame[name].to_numpy()) for name in "xy"]
    assert np.allclose(single_scores(frame, features, TARGET, 2), [max(area, 1 - area) for area in areas])
    assert single_scores(frame, features, NOISE, 0)[1] == pytest.approx(1)
