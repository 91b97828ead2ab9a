"""The walk through the grid, what is counted of both sides, and the report on results that were made up."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import automl, cells, manual_tuning
from benchmarks.cells import Cell
from benchmarks.manual_tuning import HAND, OURS, POINTS


def side(*steps: tuple[float, float | None]) -> dict[str, Any]:
    tests = {str(at): 0.5 + at / 1000 for at in manual_tuning.improvements(steps)}
    return {"metric": "rmse", "steps": list(steps), "test": tests, "constant": 1.0}


def searched(*together: tuple[float, float | None], alone: tuple[tuple[float, float | None], ...]) -> dict[str, Any]:
    return {**side(*alone), "together": list(together), "together_test": 0.4}


def told(done: dict[tuple[str, str], dict[str, Any]], wanted: int) -> dict[str, tuple[float, str]]:
    return {f"{name} [{unit[0]}]": (value, unit) for name, value, unit in manual_tuning.report(done, wanted)}


def test_the_walk_begins_at_lightgbms_defaults_and_the_last_line_is_fastest() -> None:
    points = list(manual_tuning.walk())
    assert len(points) == POINTS == 96
    assert points[0] == {
        "learning_rate": 0.1,
        "num_leaves": 31,
        "min_samples_leaf": 20,
        "max_features": 1.0,
        "l2": 0.0,
    }
    assert points[1] == {**points[0], "l2": 1.0}


def test_an_evaluation_without_a_loss_counts_and_improves_nothing() -> None:
    steps = [(1.0, None), (2.0, 0.5), (3.0, 0.6), (4.0, 0.4)]
    assert manual_tuning.improvements(steps) == [1, 3]
    assert manual_tuning.reached(steps, 0.4) == 3
    assert manual_tuning.reached(steps, 0.3) is None


@pytest.fixture(autouse=True)
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(cells, "RESULTS", tmp_path)
    return tmp_path


GRID = side(*((float(at + 1), 0.9 - min(at, 9) / 100) for at in range(POINTS)))  # its best is number 10


def test_what_the_ensemble_needs_is_compared_with_the_whole_grid_and_one_trial_is_told_beside_it() -> None:
    ours = searched((2.5, 0.95), (4.5, 0.8), alone=((2.0, 0.95), (3.0, None), (4.0, 0.85), (6.0, 0.8)))
    found = told({("a", HAND): GRID, ("a", OURS): ours}, 1)
    assert found["a: the ensemble, until as good [e]"] == (2.0, "evaluations, grid 96 (its best is number 10)")
    assert found["a: the ensemble, until as good [s]"] == (4.5, "s, grid 96 s (its best after 10 s)")
    assert found["a: one trial, until as good [e]"][0] == 4.0
    assert found["a: test, the ensemble by then [r]"] == (0.4, "rmse, the grid's best 0.509")
    assert found["a: test, one trial by then [r]"][0] == 0.503
    assert found["the ensemble: median ratio of evaluations [(]"] == (48.0, "(met: at least 10)")
    assert found["the ensemble: median ratio of seconds [(]"][0] == pytest.approx(96 / 4.5)
    assert found["the ensemble: median ratio of evaluations, beside the walk until its best [t]"][0] == 5.0
    assert found["one trial: median ratio of evaluations [t]"] == (24.0, "times")


def test_a_set_that_is_never_reached_counts_and_one_that_is_missing_leaves_the_goal_open() -> None:
    good, never = searched((1.0, 0.8), alone=((1.0, 0.8),)), searched((1.0, 0.9), (2.0, 0.85), alone=((1.0, 0.9),))
    found = told({("a", HAND): GRID, ("a", OURS): never}, 1)
    assert found["a: the ensemble, until as good [e]"][0] == math.inf
    assert "NEVER" in found["a: the ensemble, until as good [e]"][1]
    assert found["the ensemble: median ratio of evaluations [(]"] == (0.0, "(NOT MET: at least 10)")
    assert found["the ensemble: sets whose grid was not reached [o]"][0] == 1
    found = told({("a", HAND): GRID, ("a", OURS): good, ("b", HAND): GRID}, 2)
    assert found["the ensemble: median ratio of evaluations [(]"] == (
        96.0,
        "(NOT MET: at least 10, 1 sets are missing)",
    )


def test_convergence_is_that_of_the_longest_budget(results: Path) -> None:
    def line(data: str, budget: float, converged: float, fold: int = 0) -> str:
        cell = Cell("automl", OURS, data, fold, 0, budget)
        return json.dumps({"cell": asdict(cell), "figures": {"converged": converged}})

    lines = [line("a", 60.0, 50.0), line("a", 300.0, 20.0), line("a", 300.0, 30.0, 1), line("b", 60.0, math.nan)]
    (results / "automl.jsonl").write_text("\n".join(lines))
    assert manual_tuning.converged() == {"a": (30.0, 300.0)}
    found = told({}, 10)
    assert found["AutoML converges, the slowest set [s]"][1].endswith("(NOT MET: below 1800, 9 sets are missing)")


@pytest.mark.skipif(not (automl.DATA / "tabular_amlb").exists(), reason="needs the shared sets of tables")
def test_both_sides_of_a_set(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manual_tuning, "GRID", {"learning_rate": (0.1, 0.3)})
    monkeypatch.setattr(manual_tuning, "POINTS", 2)
    hand, ours = (Cell("manual_tuning", system, "blood-transfusion", 0, 0, 1.0) for system in (HAND, OURS))
    with pytest.raises(FileNotFoundError, match="the grid must be walked on blood-transfusion first"):
        manual_tuning.cell(ours)
    walked = manual_tuning.cell(hand)
    assert len(walked["steps"]) == 2
    assert np.all(np.diff([0.0, *(second for second, _ in walked["steps"])]) > 0)
    assert all(0.5 < score < 1 for score in walked["test"].values())
    (results / "manual_tuning.jsonl").write_text(json.dumps({"cell": asdict(hand), "figures": walked}))
    found = manual_tuning.cell(ours)
    target = min(loss for _, loss in walked["steps"])
    done = [manual_tuning.reached(found[name], target) for name in ("steps", "together")]
    assert None in done or len(found["steps"]) == max(done) + 1, "no trial after both are as good"  # type: ignore[type-var]
    assert next(loss for _, loss in found["together"]) == pytest.approx(found["steps"][0][1]), (
        "one trial is its ensemble"
    )
    assert 0.5 < found["together_test"] < 1


def test_an_unknown_set_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_SETS", "blood")
    with pytest.raises(ValueError, match=r"BENCH_SETS are some of blood-transfusion.*got 'blood'"):
        list(manual_tuning.run())
