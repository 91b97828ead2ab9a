"""What goes wrong in a search of a table: trials that break, members that are not proven, a budget for nothing."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

import numpy as np
import polars as pl
import pytest

from components.automl import portfolio
from fleetml.learn.tables import fit
from fleetml.learn.tables.model import TabularModel
from tests.components.automl.conftest import Run, rows


def test_trials_that_crash_hang_or_return_nan_leave_the_others_going(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(task: Any, chosen: Any) -> Any:
        os.kill(os.getpid(), signal.SIGKILL)

    def hang(task: Any, chosen: Any) -> Any:
        while True:
            time.sleep(0.05)

    def nan(task: Any, chosen: Any) -> Any:
        return fit.Constant(np.array([np.nan, np.nan], np.float32))

    broken = {"lightgbm": crash, "xgboost": hang, "extra_trees": nan}
    monkeypatch.setattr(fit, "_FITS", {**fit._FITS, **broken})
    monkeypatch.setattr(
        "components.automl.automl_tabular.TRIAL_SHARE", 0.3
    )  # a busy machine takes a second for the linear one
    made = run(rows().drop("spend"), "label", "classification", workers=2, timeout_seconds=50)
    board = pl.read_parquet(made["leaderboard"].path)
    states = dict(zip(board["family"], board["state"], strict=True))
    assert states["lightgbm"] == "crashed"
    assert states["xgboost"] == "late"
    assert states["extra_trees"] in ("nan", "failed")
    assert states["linear"] == "complete"
    assert TabularModel(made["model"].path).about.hyperparameters["families"] == "linear"


def test_a_trial_that_eats_memory_is_ended_and_the_others_go_on(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def eat(task: Any, chosen: Any) -> Any:
        eaten = []
        while True:
            eaten.append(np.ones(4_000_000))
            time.sleep(0.01)

    monkeypatch.setattr(fit, "_FITS", {**fit._FITS, "lightgbm": eat})
    made = run(rows().drop("spend"), "label", "classification", trials=2, memory_mb=400)
    board = pl.read_parquet(made["leaderboard"].path)
    states = dict(zip(board["family"], board["state"], strict=True))
    assert states["lightgbm"] in ("memory", "crashed")
    assert states["linear"] == "complete"


def test_a_member_whose_graph_differs_is_left_out_by_name(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    true = fit._CONVERSIONS["lightgbm"]

    def wrong(estimator: Any, features: int, classifies: bool) -> Any:
        graph = true(estimator, features, classifies)
        for node in graph.graph.node:
            for attribute in node.attribute:
                if attribute.name == "nodes_values":
                    attribute.floats[:] = [value + 3 for value in attribute.floats]
        return graph

    monkeypatch.setattr(fit, "_CONVERSIONS", {**fit._CONVERSIONS, "lightgbm": wrong})
    made = run(rows().drop("spend"), "label", "classification", trials=3)
    board = pl.read_parquet(made["leaderboard"].path)
    (row,) = board.filter(pl.col("family") == "lightgbm").to_dicts()
    assert row["weight"] == 0
    assert "does not say what its Python model does" in row["reason"]
    assert "lightgbm" not in made["model"].metadata["card"]["families"]


def test_a_budget_too_small_for_one_trial_gives_the_constant_and_says_what_was_given(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fit, "_FITS", {"constant": fit._FITS["constant"], **dict.fromkeys(portfolio.SPACES, _slow)})
    made = run(rows().drop("spend"), "label", "classification", timeout_seconds=1, workers=2)
    card = made["model"].metadata["card"]
    assert card["algorithm"] == "constant"
    assert "no trial was finished, of a budget of 1 s" in made["metrics"].metadata["reason"]
    assert "late" in made["metrics"].metadata["reason"]
    assert "no trial was finished" in made["report"].path.read_text()
    assert "of the budget of 1 s are spent" in card["stopped"]
    answers = TabularModel(made["model"].path).predict(rows(5))
    assert len(set(answers.prediction.tolist())) == 1


def test_a_size_that_no_trial_keeps_is_named_as_the_reason(run: Run) -> None:
    made = run(rows().drop("label"), "spend", "regression", trials=2, size_limit_mb=0.00001)
    card = made["model"].metadata["card"]
    assert card["algorithm"] == "constant"
    assert "MB, 1e-05 are allowed" in card["reason"]
    assert card["stopped"] == "2 trials are done"
    assert "temperature" not in card
    assert "calibration_error" not in card


def test_members_are_not_told_as_trials(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        run(rows().drop("spend"), "label", "classification", trials=2)
    told = [record.getMessage() for record in caplog.records]
    assert sum(line.startswith("trial ") for line in told) == 2
    assert any("members of the model were made" in line for line in told)


def _slow(task: Any, chosen: Any) -> Any:
    while True:
        time.sleep(0.05)
