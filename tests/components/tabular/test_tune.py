"""A search over parameters and algorithms."""

from __future__ import annotations

import json
import os
import time
from typing import Any

import polars as pl
import pytest

from components.tabular.tune import tune
from fleetml.errors import InvalidParameter
from fleetml.learn.algorithms import ALGORITHMS
from fleetml.learn.leaderboard import SearchFailed
from fleetml.learn.tables import equality, fit
from fleetml.learn.tables.model import TabularModel
from tests.components.tabular.conftest import FEATURES


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
    tune(given, model, board, metrics, max_trials=len(ALGORITHMS), objective_metric="mae")
    trials = pl.read_parquet(board.path)
    assert set(trials["algorithm"]) == set(ALGORITHMS)
    assert metrics.metadata["mae"] == round(trials["mae"].min(), 4)


def test_a_trial_whose_graph_is_wrong_does_not_end_the_search(
    dataset: Any, new: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(equality, "MOST_MEAN", -1.0)  # no graph is good enough
    board = new("board")
    with pytest.raises(SearchFailed, match="every trial failed, the last: InvalidGraph: a graph must predict what"):
        tune(dataset(), new("model"), board, new("m"), "linear", max_trials=2)


def test_a_trial_that_hangs_dies_or_eats_memory_is_a_row_and_the_best_of_the_others_is_the_model(
    dataset: Any, new: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hang(task: Any, chosen: Any) -> None:
        time.sleep(600)

    def eat(task: Any, chosen: Any) -> list[bytes]:
        eaten = []
        while True:  # a refusal is an exception, what is taken is seen from outside
            eaten.append(b"x" * 10_000_000)

    def die(task: Any, chosen: Any) -> None:
        os._exit(3)

    known = {name: fit._FITS[name] for name in ALGORITHMS}
    monkeypatch.setattr(fit, "_FITS", {**known, "linear": hang, "extra_trees": eat, "mlp": die})
    board, metrics = new("board"), new("m")
    limits = {"trial_seconds": 10, "memory_mb": 500, "timeout_seconds": 300}
    tune(dataset(), new("model"), board, metrics, max_trials=len(ALGORITHMS), **limits)
    found = {row["algorithm"]: row for row in pl.read_parquet(board.path).to_dicts()}
    assert found["linear"]["reason"].startswith("it did not end in its time")
    assert (
        "MB, the limit is 500 MB" in found["extra_trees"]["reason"] or "MemoryError" in found["extra_trees"]["reason"]
    )
    assert found["mlp"]["reason"].startswith("its process ended with status 3")
    assert metrics.metadata["failed"] == 3
    assert metrics.metadata["algorithm"] not in ("linear", "extra_trees", "mlp")
    assert metrics.metadata["accuracy"] == max(round(row["accuracy"] or 0, 4) for row in found.values())


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
