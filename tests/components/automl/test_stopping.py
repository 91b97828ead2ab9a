"""Folds are judged as if their held rows had not told when to stop."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest

from components.automl import portfolio, stopping, trials
from components.automl.given import Problem, problem
from components.automl.stopping import Watched
from fleetml.learn.tables import fit, table
from fleetml.learn.tables.table import TRAIN, Feature, Recipe, Table


@pytest.fixture(scope="module")
def noise() -> Problem:
    """Return rows of which nothing tells the class: whatever stops a model early there does so by chance."""
    random = np.random.default_rng(0)
    frame = pl.DataFrame(random.normal(size=(150, 8)), schema=[f"x{at}" for at in range(8)])
    frame = frame.with_columns(pl.Series("y", random.integers(0, 2, 150)), pl.lit(TRAIN).alias(table.SPLIT))
    features = tuple(Feature(f"x{at}", "numeric") for at in range(8))
    return problem(Table(frame, Recipe("y", "classification", features)), "", "", "", 600, 20.0, 0)


@pytest.mark.parametrize("family", ["lightgbm", "xgboost", "mlp", "net"])
def test_a_model_that_stops_by_its_held_rows_is_not_judged_by_that(
    noise: Problem, family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(portfolio, "MOST_EPOCHS", 6)
    start = next(each for each in portfolio.starts(portfolio.SPACES, "classification") if each["family"] == family)
    point = {name.partition(".")[2]: value for name, value in start.items() if name != "family"}
    chosen = portfolio.hyperparameters(family, point, 150, 20.0, "classification")
    made = trials.evaluate(noise, family, chosen, lambda number, loss: None, math.inf)
    own = [
        noise.loss(noise.target[fold.held], fit.outputs(model, noise.rows(family, number, fold.held), True))
        for number, (fold, model) in enumerate(zip(noise.validation.once, made.models, strict=True))
    ]
    assert made.curve[-1] > np.mean(own) + 1e-4  # what it would look like by its own choice
    assert np.isfinite(made.said).all()


def test_a_fold_is_judged_after_as_many_steps_as_the_others_were_best_at() -> None:
    def told(errors: list[float]) -> Watched:
        return Watched(np.array([[-1.0]]), errors, lambda count: np.array([[float(count)]]))

    folds = [told([5, 1, 2, 3]), told([5, 4, 3, 1]), told([5, 4, 2, 2.5, 9])]
    assert [each.item() for each in stopping.judged(folds)] == [4, 3, 4]
    assert stopping.judged(folds[:1])[0].item() == -1
    assert stopping.judged([Watched(np.zeros((1, 1)))] * 2)[0].item() == 0


def test_where_one_fold_is_all_a_tenth_of_its_rows_stops_its_models() -> None:
    target = np.array([0] * 80 + [1] * 19 + [2])
    train, stop = stopping.kept_back(np.arange(100), target, True)
    assert np.bincount(target[stop]).tolist() == [8, 1]
    assert sorted([*train, *stop]) == list(range(100))
    assert len(stopping.kept_back(np.arange(20), target[:20], True)[1]) == 0
    assert len(stopping.kept_back(np.arange(100), target.astype(float), False)[1]) == 10


def test_a_group_stops_models_or_is_learnt_from_but_not_both() -> None:
    groups, target = np.arange(200) % 40, np.arange(200) % 3
    train, stop = stopping.kept_back(np.arange(200), target, True, groups)
    assert 10 <= len(stop) <= 20
    assert not set(groups[train]) & set(groups[stop])
    assert sorted([*train, *stop]) == list(range(200))
    few = np.repeat([0, 1, 2, 3], [80, 60, 40, 20])  # each larger than a tenth of what is learnt from
    train, stop = stopping.kept_back(np.arange(190), target, True, few)
    assert set(few[stop]) == {3}
    assert not len(stopping.kept_back(np.arange(60), few, True, few)[1]), "one group cannot be divided"
    own = np.repeat([0, 1], [180, 20])  # the class of the last group is in no other
    assert not len(stopping.kept_back(np.arange(200), own, True, own)[1])


def test_of_what_is_ordered_in_time_the_latest_rows_stop_models() -> None:
    moments = np.random.default_rng(0).permutation(np.arange(200) // 4)
    train, stop = stopping.kept_back(np.arange(200), np.arange(200) % 2, True, moments, ordered=True)
    assert len(stop) == 20
    assert moments[stop].min() > moments[train].max()
    train, stop = stopping.kept_back(np.arange(200), np.arange(200) % 2, False, moments // 10, ordered=True)
    assert set(moments[stop] // 10) == {4}, "a moment is not divided"


def test_the_split_of_a_search_tells_what_belongs_together(noise: Problem, monkeypatch: pytest.MonkeyPatch) -> None:
    codes = np.arange(len(noise.target)) % 15
    alone = replace(noise.validation, folds=noise.validation.folds[:1], together=codes)
    seen: list[Any] = []
    monkeypatch.setattr(fit, "_FITS", {**fit._FITS, "lightgbm": lambda task, chosen: seen.append(task) or _constant()})
    monkeypatch.setattr(trials, "_rounds", lambda model: 1)
    told: list[Any] = []
    real = stopping.kept_back
    monkeypatch.setattr(stopping, "kept_back", lambda *given: told.append(real(*given)) or told[-1])
    chosen = portfolio.hyperparameters("lightgbm", {}, 150, 20.0, "classification")
    trials.evaluate(replace(noise, validation=alone), "lightgbm", chosen, lambda number, loss: None, math.inf)
    ((train, stop),) = told
    assert len(seen[0].validation_rows) == len(stop) > 0
    assert not set(codes[train]) & set(codes[stop])


def test_one_fold_alone_does_not_see_its_held_rows(noise: Problem, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = replace(noise, validation=replace(noise.validation, folds=noise.validation.folds[:1]))
    seen: list[Any] = []
    monkeypatch.setattr(fit, "_FITS", {**fit._FITS, "lightgbm": lambda task, chosen: seen.append(task) or _constant()})
    chosen = portfolio.hyperparameters("lightgbm", {}, 150, 20.0, "classification")
    monkeypatch.setattr(trials, "_rounds", lambda model: 1)
    trials.evaluate(alone, "lightgbm", chosen, lambda number, loss: None, math.inf)
    (task,) = seen
    assert len(task.rows) + len(task.validation_rows) == len(alone.validation.folds[0].train)


def _constant() -> fit.Constant:
    return fit.Constant(np.array([0.5, 0.5], np.float32))
