"""What a search may take: seconds by a clock that stands still unless a stage spends its time, the size of the graph, many columns."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest

from components.automl import assembly, automl_tabular, choice, ensemble, finish, importance, portfolio
from components.automl.trials import objective
from components.tabular.prepare import prepare
from fleetml.component import Artifact
from fleetml.learn.study import loop
from fleetml.learn.study.settings import StudySettings
from fleetml.learn.study.space import of_ranges
from fleetml.learn.tables.model import TabularModel
from tests.components.automl.conftest import OUTPUTS, Run, rows

BUDGET, LATE = 10.0, 3.0


class Clock:
    """Seconds that pass where a stage is told to spend them; what is computed takes none."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def spend(self, until: float) -> None:
        self.now = max(self.now, until) if math.isfinite(until) else self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Every stage spends all it is given, the trials end late, a proof and a timing take half a second."""
    clock = Clock()
    for module in (automl_tabular, assembly, choice, ensemble, finish, importance):
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=clock.monotonic, perf_counter=time.perf_counter))
    choose, members, prove, latency = assembly.choose, finish.members, assembly.prove, assembly.latency

    def search(given: Any, trials: int, end: float, limits: Any) -> Any:
        settings = StudySettings(trials=trials, sampler="random", workers=1, trial_seconds=600, memory_mb=4096)
        families = portfolio.spaces(given.about.objective)
        starts = portfolio.starts(families, given.about.objective)
        found = loop.run(objective(given), of_ranges(families), settings, starts)
        clock.spend(end + LATE)
        return found

    def chosen(given: Any, found: Any, deadline: float = math.inf) -> Any:
        try:
            return choose(given, found, deadline)
        finally:
            clock.spend(deadline)

    def made(given: Any, found: Any, parts: Any, limits: Any) -> Any:
        try:
            return members(given, found, parts, replace(limits, deadline=clock.now + 600))
        finally:
            clock.spend(limits.deadline)

    def half(true: Any) -> Any:
        def spent(*given: Any) -> Any:
            clock.spend(clock.now + 0.5)
            return true(*given)

        return spent

    def explained(true: Any) -> Any:
        def spent(*given: Any) -> Any:
            try:
                return true(*given)
            finally:
                clock.spend(given[-1])

        return spent

    monkeypatch.setattr(automl_tabular, "search", search)
    monkeypatch.setattr(assembly, "choose", chosen)
    monkeypatch.setattr(finish, "members", made)
    monkeypatch.setattr(assembly, "prove", half(prove))
    monkeypatch.setattr(assembly, "latency", half(latency))
    for name in ("permutation", "shapley"):
        monkeypatch.setattr(automl_tabular, name, explained(getattr(automl_tabular, name)))
    return clock


@pytest.mark.parametrize("latency_limit_ms", [1000.0, 1e-6])
def test_stages_that_spend_all_they_may_end_five_seconds_after_the_budget_at_most(
    run: Run, clock: Clock, latency_limit_ms: float
) -> None:
    made = run(
        rows(120).drop("spend"),
        "label",
        "classification",
        trials=3,
        timeout_seconds=BUDGET,
        latency_limit_ms=latency_limit_ms,
    )
    card = made["model"].metadata["card"]
    assert card["algorithm"] != "constant"
    assert card["budget_met"] is (latency_limit_ms > 1)
    assert BUDGET < clock.now <= BUDGET + 5


def test_a_graph_over_the_size_limit_is_made_smaller_or_named_so(run: Run) -> None:
    whole = run(rows().drop("spend"), "label", "classification")
    size = whole["model"].metadata["size_bytes"]
    assert whole["model"].metadata["card"]["members"] > 1
    small = run(rows().drop("spend"), "label", "classification", size_limit_mb=size / 2e6)
    card = small["model"].metadata["card"]
    assert card["budget_met"] is True
    assert card["size_bytes"] <= size / 2
    assert card["algorithm"] != "constant"
    none = run(rows().drop("spend"), "label", "classification", size_limit_mb=1e-4, trials=2)
    card = none["model"].metadata["card"]
    assert card["budget_met"] is False
    assert "best effort: the graph has" in card["reason"]
    board = pl.read_parquet(none["leaderboard"].path)
    assert any("its graph would take" in why for why in board["reason"])
    assert len(TabularModel(none["model"].path).predict(rows(5)).prediction) == 5


def test_of_more_columns_than_a_graph_takes_those_that_tell_most_are_learnt_from_as_prepared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fleetml.learn.tables.guards.MOST_COLUMNS", 40)
    values = np.random.default_rng(0).normal(size=(60, 1000)).astype(np.float32)
    label = np.where(values[:, 7] + values[:, 11] > 0, "yes", "no")
    frame = pl.DataFrame(values, schema=[f"c{at}" for at in range(1000)])
    frame.with_columns(pl.Series("label", label.tolist())).write_csv(tmp_path / "wide.csv")
    made = {name: Artifact(name, str(tmp_path / name)) for name in OUTPUTS}
    prepare(str(tmp_path / "wide.csv"), made["dataset"], made["metrics"], test_split=0.2)
    automl_tabular.automl_tabular(**made, trials=1, timeout_seconds=300, workers=1, latency_limit_ms=1000.0)
    card = made["model"].metadata["card"]
    assert card["features"] <= 40
    assert any("1000 columns are more than the 40 a graph takes" in note for note in card["notes"])
    assert {"c7", "c11"} <= {feature.name for feature in TabularModel(made["model"].path).about.features}
