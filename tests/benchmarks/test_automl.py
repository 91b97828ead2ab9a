"""The report of the AutoML benchmark on results that were made up, and its score beside scikit-learn's."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from benchmarks import automl, automl_report, cells
from benchmarks.cells import Cell

CORES = os.sched_getaffinity(0)


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
    return {name: (value, unit) for name, value, unit in automl_report.report(done)}


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


def test_no_goal_is_met_while_a_compared_system_failed() -> None:
    failed = {"figures": {"failed": "no such file"}}
    found = report(
        fleetml=[line(1.0), line(1.0)],
        flaml=[line(3.0), failed],
        autogluon_medium_quality=[failed, failed],
    )
    assert found["goal: mean rank ahead of FLAML's"][1] == "NOT MET: 1 cells of flaml failed"
    (told,) = [unit for name, (_, unit) in found.items() if name.startswith("goal: rank ahead of autogluon")]
    assert told == "NOT MET: 2 cells of autogluon medium quality failed"


def test_the_limit_of_latency_holds_for_ours_too() -> None:
    found = report(fleetml=[line(1.0, p99=11.0)], autogluon_medium_quality=[line(2.0, p99=5.0)])
    (told,) = [unit for name, (_, unit) in found.items() if name.startswith("goal: rank ahead of autogluon")]
    assert told == "NOT MET"


def test_peers_without_their_environment_are_told(tmp_path: Path) -> None:
    wanted = [Cell("automl", system, "bike", 0, 0, 60.0) for system in ("fleetml", "flaml")]
    with pytest.raises(FileNotFoundError, match=r"flaml run in \.venv/peers-automl, .*BENCH_SYSTEMS=fleetml"):
        automl.check(wanted, tmp_path / "python")
    automl.check(wanted[:1], tmp_path / "python")


def test_a_cell_that_failed_is_done_again_on_however_few_cores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cells, "RESULTS", tmp_path)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {min(CORES)})
    wanted = [Cell("automl", "fleetml", "bike", fold, 0, 0.0) for fold in range(2)]
    fails = [sys.executable, "-c", "raise SystemExit(3)"]
    works = [sys.executable, "-c", "print('{\"score\": 1}')"]
    assert cells.run(wanted, lambda cell: works if cell.fold else fails, "made", 9, lanes=2) == "1 of 2 cells done"
    assert cells.run(wanted, lambda cell: works, "made", 9, lanes=2) == "2 of 2 cells done"
    assert [line["cell"]["fold"] for line in cells.results("made")].count(1) == 1


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


def test_accuracy_is_told_beside_the_best_published_and_its_goal_holds_where_that_allows_it() -> None:
    def cells_of(data: str, ours: dict[str, Any]) -> dict[str, tuple[float, str]]:
        done = {
            Cell("automl", "fleetml", data, 0, 0, 60.0): {"figures": {**line(1.0)["figures"], **ours}},
            Cell("automl", "flaml", data, 0, 0, 60.0): {"figures": {**line(1.0)["figures"], "accuracy": 0.97}},
        }
        return {name: (value, unit) for name, value, unit in automl_report.report(done)}

    told = cells_of("kr-vs-kp", {"accuracy": 0.99})
    published = "share of rows, best published 0.9966, 1 of 1 cells tell it"
    assert told["kr-vs-kp: fleetml: accuracy"] == (0.99, f"{published} (met: above 0.95)")
    assert told["kr-vs-kp: flaml: accuracy"] == (0.97, published)
    assert cells_of("kr-vs-kp", {"accuracy": 0.94})["kr-vs-kp: fleetml: accuracy"][1].endswith("(NOT MET: above 0.95)")
    assert cells_of("kr-vs-kp", {})["kr-vs-kp: fleetml: accuracy"][1].endswith(
        "0 of 1 cells tell it (NOT MET: above 0.95)"
    )
    assert cells_of("credit-g", {"accuracy": 0.7})["credit-g: fleetml: accuracy"][1].endswith("1 of 1 cells tell it")
    assert "credit-g: fleetml: accuracy" not in cells_of("credit-g", {})
    assert not any("accuracy" in name for name in cells_of("bike", {}))


def test_convergence_is_that_of_the_slowest_cell_and_one_that_does_not_tell_it_misses_the_goal() -> None:
    def cells_of(*seconds: float) -> tuple[float, str]:
        lines = [{"figures": {**line(1.0)["figures"], "converged": each}} for each in seconds]
        return report(fleetml=lines)["goal: AutoML converges, the slowest cell"]

    assert cells_of(20.0, 50.0) == (50.0, "s (met: below 1800)")
    assert cells_of(20.0, 1900.0)[1] == "s (NOT MET: below 1800)"
    assert cells_of(20.0, float("nan"))[1] == "s (NOT MET: below 1800, 1 cells do not tell)"


def test_accuracy_is_of_the_most_probable_class() -> None:
    said = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.7, 0.3]])
    assert automl.accuracy(pl.Series(["a", "b", "b", "a"]), said, ["a", "b"]) == 0.75
    assert automl.accuracy(pl.Series([1, 2, 2, 1]), said, ["1", "2"]) == 0.75


def test_the_second_of_convergence_is_the_last_gain_that_matters() -> None:
    board = pl.DataFrame(
        {"name": ["constant", "a", "b", "c"], "loss": [1.0, 0.5, 0.3, 0.2999], "ended": [None, 2.0, 5.0, 50.0]}
    )
    assert automl._converged(board) == 5.0
