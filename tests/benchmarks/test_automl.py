"""The report of the AutoML benchmark on results that were made up, and its score beside scikit-learn's."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest

from benchmarks import automl
from benchmarks.cells import Cell


def line(score: float, p99: float = 1.0, graph: bool = False) -> dict[str, Any]:
    return {
        "figures": {
            "metric": "rmse",
            "score": score,
            "constant": 10.0,
            "p99_ms": p99,
            "one_graph": graph,
            "fit_seconds": 60.0,
        }
    }


def report(**systems: list[dict[str, Any]]) -> dict[str, tuple[float, str]]:
    done = {
        Cell("automl", system.replace("_", " "), "bike", fold, 0, 60.0): each
        for system, lines in systems.items()
        for fold, each in enumerate(lines)
    }
    return {name: (value, unit) for name, value, unit in automl._report(done)}


def test_ranks_scores_and_goals_are_told() -> None:
    found = report(
        fleetml=[line(2.0, graph=True), line(2.0, graph=True)],
        flaml=[line(3.0), line(3.0)],
        autogluon_medium_quality=[line(1.0, p99=80.0), line(3.0, p99=80.0)],
    )
    assert found["fleetml: mean rank over 1 sets"][0] == 1.5
    assert found["flaml: mean rank over 1 sets"][0] == 2.75
    assert found["fleetml: normalised score, mean"][0] == pytest.approx((8 / 9 + 1) / 2)
    assert found["fleetml: one ONNX graph, p99 at most 10 ms"][0] == 1
    assert found["autogluon medium quality: p99 of one row at most 10 ms"][0] == 0
    assert found["goal: mean rank ahead of FLAML's"][1] == "met"
    told = [name for name in found if name.startswith("goal: rank ahead of autogluon")]
    assert [found[name][1] for name in told] == ["met"]
    assert found["cells won against autogluon medium quality"][0] == 1


def test_what_failed_is_last_and_a_goal_that_is_missed_says_so() -> None:
    found = report(fleetml=[{"figures": {"failed": "out of memory"}}], flaml=[line(3.0)])
    assert found["fleetml: mean rank over 1 sets"][0] == 2
    assert found["fleetml: normalised score, mean"][0] == 0
    assert found["goal: mean rank ahead of FLAML's"][1] == "NOT MET"
    assert found["bike: fleetml"][1] == "rmse (1 failed)"


def test_a_fold_that_some_system_has_not_done_yet_is_not_compared() -> None:
    found = report(fleetml=[line(1.0), line(5.0)], flaml=[line(2.0)])
    assert found["bike: fleetml"][0] == 1.0


def test_scores_are_those_of_the_metrics() -> None:
    truth = pl.Series(["a", "b", "b", "a"])
    said = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.7, 0.3]])
    assert automl.judged("roc_auc", truth, said, ["a", "b"]) == 1.0
    assert automl.judged("log_loss", truth, said, ["a", "b"]) == pytest.approx(-np.log([0.9, 0.8, 0.4, 0.7]).mean())
    assert automl.judged("rmse", pl.Series([1, 2]), [1.0, 4.0], []) == pytest.approx(np.sqrt(2))
    assert automl.constant("log_loss", truth, truth) == pytest.approx(np.log(2))
    assert automl.constant("rmse", pl.Series([1.0, 3.0]), pl.Series([2.0])) == 0


def test_the_second_of_convergence_is_the_last_gain_that_matters() -> None:
    board = pl.DataFrame(
        {"name": ["constant", "a", "b", "c"], "loss": [1.0, 0.5, 0.3, 0.2999], "ended": [None, 2.0, 5.0, 50.0]}
    )
    assert automl._converged(board) == 5.0
