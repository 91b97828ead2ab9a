"""What a fold's model is given of the target: nothing that the rows it is judged by tell."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest

from fleetml.learn.graph import InvalidGraph
from fleetml.learn.tables import fit, guards, interactions
from fleetml.learn.tables.assemble import Ensemble, Weights
from fleetml.learn.tables.equality import prove
from fleetml.learn.tables.guards import guarded
from fleetml.learn.tables.heads import DENSE, FOREST, TREE, Heads, heads
from fleetml.learn.tables.members import member
from fleetml.learn.tables.table import CATEGORICAL, NUMERIC, Feature, Recipe
from fleetml.learn.tables.target import described
from fleetml.learn.tables.trained import ALL, Folds

COUNT = 200
PARTS = np.arange(COUNT) % 5
LEARNT = [np.flatnonzero(part != PARTS) for part in range(5)]
FEATURES = (Feature("street", CATEGORICAL), Feature("x", NUMERIC), Feature("y", NUMERIC), Feature("z", NUMERIC))
RECIPE = Recipe("t", "regression", FEATURES)


def table() -> tuple[pl.DataFrame, np.ndarray[Any, Any]]:
    """A product tells the target, and so do streets, of which there are more than 64."""
    random = np.random.default_rng(0)
    x, y, z = random.normal(size=(3, COUNT))
    street = [f"s{number}" for number in random.integers(0, 70, COUNT)]
    return pl.DataFrame({"street": street, "x": x, "y": y, "z": z}), x * y + random.normal(0, 0.1, COUNT)


def made(target: np.ndarray[Any, Any], folds: Folds | None = None) -> Heads:
    return heads(table()[0], RECIPE, target, folds or Folds(PARTS, False, LEARNT))


@pytest.mark.parametrize("head", [DENSE, TREE, FOREST])
def test_the_target_of_held_rows_changes_nothing_a_fold_is_given(head: str) -> None:
    target = table()[1]
    other = np.where(PARTS == 0, np.random.default_rng(1).normal(0, 0.3, COUNT), target)
    one, two = made(target).trained[head], made(other).trained[head]
    given, same = one.of(0), two.of(0)
    if head == DENSE:  # scaled by all rows, of which a linear change is all that is left
        given, same = ((each - each.mean(axis=0)) / np.maximum(each.std(axis=0), 1e-6) for each in (given, same))
    assert given.shape == same.shape
    assert np.allclose(given, same, atol=1e-4)
    assert not np.allclose(one.rows[:, one.at], two.rows[:, two.at], atol=1e-2)


def test_a_row_is_encoded_by_other_parts_that_its_fold_learns_from_and_a_held_one_by_all_of_these() -> None:
    frame, target = table()
    mine, known = frame["street"].to_numpy(), made(target).trained[TREE]
    (at,) = known.at
    for row in (1, 7, 100):
        used = (PARTS != 0) & ((PARTS[row] != PARTS) | (PARTS[row] == 0))
        same = used & (mine == mine[row])
        expected = (target[same].sum() + 10 * target[used].mean()) / (same.sum() + 10)
        assert known.of(0, np.array([row]))[0, at] == pytest.approx(expected, abs=1e-4)
        assert known.of(ALL, np.array([row]))[0, at] == known.rows[row, at]


def test_rows_of_one_part_are_dealt_out_in_their_fold() -> None:
    two = np.arange(COUNT) % 2
    known = made(table()[1], Folds(two, True, [np.flatnonzero(two == 0)])).trained[TREE]
    assert len(np.unique(known.of(0, np.flatnonzero(two == 0))[:, known.at])) > 5


def test_a_fold_has_the_products_its_own_rows_tell_and_its_model_reads_its_own_columns_in_the_graph(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(interactions, "_SURE", 3.0)
    frame, target = table()
    frame = frame.with_columns(pl.col("x", "y").sign())
    noise = np.random.default_rng(1).normal(size=COUNT)
    target = np.where(
        PARTS == 0, frame["x"].to_numpy() * frame["y"].to_numpy() * 50, frame["z"].to_numpy() + noise
    )  # part 0 alone tells the product
    known = heads(frame, RECIPE, target, Folds(PARTS, False, LEARNT))
    widths = [known.trained[DENSE].of(fold).shape[1] for fold in range(5)]
    assert widths[0] < known.width(DENSE)
    assert widths[1] > widths[0]
    about = described(RECIPE, "linear", {}, pl.Series("t", target))
    members = []
    for fold in (0, 1):
        rows = known.trained[DENSE].of(fold, LEARNT[fold])
        task = fit.Task("regression", rows, target[LEARNT[fold]], rows, target[LEARNT[fold]], 0, 1)
        members.append(member(known, "linear", fit.fit("linear", task, {}), False, fold=fold))
    python = Ensemble(known, tuple(members), Weights((0.5, 0.5)), about)
    assert prove(python.graph(), python.predict, frame).rows == COUNT + 200
    columns = members[0].columns
    assert columns is not None
    turned = replace(python, members=(replace(members[0], columns=columns[::-1].copy()), members[1]))
    with pytest.raises(InvalidGraph):  # the proof sees the columns
        prove(turned.graph(), python.predict, frame)


def test_each_fold_chooses_among_too_many_columns_by_its_own_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guards, "MOST_COLUMNS", 12)
    random = np.random.default_rng(0)
    target = random.normal(size=COUNT)
    frame = pl.DataFrame({f"c{at}": random.normal(size=COUNT) + 0.4 * (at < 14) * target for at in range(40)})
    leak = np.where(PARTS == 0, target * 100, random.normal(size=COUNT))  # tells the target of the held rows alone
    frame = frame.with_columns(pl.Series("leak", leak))
    features = tuple(Feature(name, NUMERIC) for name in frame.columns)
    known = guarded(frame, Recipe("t", "regression", features), target, 0, LEARNT)
    assert len(known.recipe.features) <= 12
    assert "leak" in known.own[ALL]
    assert "leak" not in known.own[0]
    folds = Folds(PARTS, False, LEARNT, known.own)
    found = heads(frame, known.recipe, target, folds)
    assert [found.trained[TREE].of(fold).shape[1] for fold in (0, ALL)] == [len(known.own[0]), len(known.own[ALL])]
