"""The limits of what is put together: latency, size and memory of the graph, room for its members."""

from __future__ import annotations

import json
import math
import re
import time
from typing import Any

import numpy as np
import polars as pl
import pytest

from components.automl import assembly, finish, portfolio, trials
from components.automl.trials import Evaluated
from fleetml.learn import footprint
from fleetml.learn.graph import InvalidGraph
from fleetml.learn.tables.model import TabularModel
from tests.components.automl.conftest import Run, rows


def test_limits_that_nothing_keeps_end_in_the_best_effort_named_so(run: Run) -> None:
    made = run(rows().drop("spend"), "label", "classification", latency_limit_ms=1e-6)
    card = made["model"].metadata["card"]
    assert (card["budget_met"], card["members"]) == (False, 1)
    assert card["reason"].startswith("best effort: one row takes")
    assert "best effort" in pl.read_parquet(made["leaderboard"].path)["reason"][0]


def test_a_trial_inside_the_limits_is_taken_where_the_best_one_is_over_them(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    true = assembly.latency

    def latency(content: bytes, given: Any) -> tuple[float, float]:
        slow = TabularModel(content).about.hyperparameters.get("families") != "linear"
        return (50.0, 50.0) if slow else true(content, given)

    def choose(
        given: Any, found: Any, deadline: float = math.inf
    ) -> Any:  # the linear model is not among those that answer
        kept = {number: one for number, one in found.items() if one.algorithm != "linear"}
        return chosen(given, kept or found, deadline)

    chosen = assembly.choose
    monkeypatch.setattr(assembly, "latency", latency)
    monkeypatch.setattr(assembly, "choose", choose)
    made = run(rows().drop("spend"), "label", "classification", latency_limit_ms=20.0, workers=2)
    card = made["model"].metadata["card"]
    assert (card["budget_met"], card["families"]) == (True, ["linear"])
    board = pl.read_parquet(made["leaderboard"].path)
    assert dict(zip(board["family"], board["weight"], strict=True))["linear"] == 1
    assert card["score"] == pytest.approx(board.filter(pl.col("family") == "linear")["log_loss"][0], rel=0.2)


def test_forests_that_would_take_all_the_room_are_fitted_with_fewer_trees_so_that_every_chosen_trial_is_made() -> None:
    def made(algorithm: str, megabytes: float) -> Evaluated:
        size = megabytes / trials.GRAPH_SHARE
        return Evaluated(algorithm, {}, np.zeros((1, 1)), (None,) * 5, 3.0, (1.0,) * 5, size, 5)

    def plan(*found: Evaluated) -> tuple[list[finish.Part], dict[int, str]]:
        limits = finish.Limits(10.0, 20.0, time.monotonic() + 600, 2, 1000)
        weights = {at: 1 / (at + 1) for at in range(len(found))}
        return finish.plan(dict(enumerate(found)), weights, limits, ordered=False, classifies=True)

    parts, ways = plan(made("extra_trees", 9.0), made("random_forest", 9.0), made("lightgbm", 1.0), made("mlp", 0.1))
    share = (15 - 1.1) / 18
    assert parts[:2] == [finish.Part(0, -1, pytest.approx(share)), finish.Part(1, -1, pytest.approx(share))]
    assert ways == {0: "refitted, 77% of its trees", 1: "refitted, 77% of its trees", 2: finish.REFIT, 3: finish.ONE}
    parts, ways = plan(made("extra_trees", 9.0), made("lightgbm", 1.0))
    assert parts[0] == finish.Part(0, -1)
    assert ways == {0: finish.REFIT, 1: finish.BAG}
    parts, ways = plan(*(made("extra_trees", 14.0) for _ in range(8)))
    assert {part.trees for part in parts} == {finish.LEAST_TREES}
    assert len(parts) == 4, "what is left out has the least weight"


def test_a_forest_of_fewer_trees_is_what_the_graph_holds(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    fitted = []

    def refitted(given: Any, made: Evaluated, trees: float) -> Any:
        model = trials.refitted(given, made, trees)
        assert len(model.estimators_) == 3
        fitted.append(trees)
        return model

    only = {"extra_trees": portfolio.SPACES["extra_trees"]}
    monkeypatch.setattr(portfolio, "SPACES", only)
    monkeypatch.setattr(finish, "_trees", lambda found, room: 0.3)
    monkeypatch.setattr(finish, "refitted", refitted)
    made = run(rows().drop("spend"), "label", "classification", trials=1)
    (row,) = (
        pl.read_parquet(made["leaderboard"].path).filter(pl.col("weight") > 0, pl.col("state") == "complete").to_dicts()
    )
    assert row["finished_as"] == "refitted, 30% of its trees"
    assert made["model"].metadata["card"]["proven_on_rows"] > 192


@pytest.mark.parametrize("ordered", [False, True])
def test_what_is_ordered_in_time_is_fitted_to_all_rows_or_is_the_latest_model(ordered: bool) -> None:
    def made(algorithm: str) -> Evaluated:
        return Evaluated(algorithm, {}, np.zeros((1, 1)), (None,) * 3, 3.0, (1.0,) * 3, 0.1, 3)

    found = {0: made("lightgbm"), 1: made("mlp")}
    limits = finish.Limits(10.0, 20.0, time.monotonic() + 600, 1, 1000)
    parts, ways = finish.plan(found, {0: 0.6, 1: 0.4}, limits, ordered=ordered, classifies=True)
    assert list(ways.values()) == ([finish.REFIT, finish.ONE] if ordered else [finish.BAG] * 2)
    assert (parts == [finish.Part(0, -1), finish.Part(1, 2)]) is ordered
    assert finish.spare(found).model == 2


@pytest.mark.parametrize(("megabytes", "way"), [(0.1, finish.BOTH), (4.5, finish.BAG), (14.0, finish.REFIT)])
def test_boosted_trees_that_tell_values_are_a_bag_and_fitted_to_all_rows_where_there_is_room(
    megabytes: float, way: str
) -> None:
    size = megabytes / trials.GRAPH_SHARE
    found = {0: Evaluated("lightgbm", {}, np.zeros((1, 1)), (None,) * 3, 3.0, (1.0,) * 3, size, 3)}
    limits = finish.Limits(10.0, 20.0, time.monotonic() + 600, 1, 1000)
    parts, ways = finish.plan(found, {0: 1.0}, limits, ordered=False, classifies=False)
    assert ways == {0: way}
    folds = [part.model for part in parts]
    assert folds == {finish.BOTH: [0, 1, 2, -1], finish.BAG: [0, 1, 2], finish.REFIT: [-1]}[way]
    counted = finish.shares(folds)
    assert sum(counted) == pytest.approx(1)
    assert counted[-1] == pytest.approx({finish.BOTH: 1 / 3, finish.BAG: 1 / 3, finish.REFIT: 1}[way])
    if way == finish.BOTH:
        assert counted[:3] == pytest.approx([2 / 9] * 3)


def test_a_limit_of_memory_leaves_members_out_until_the_graph_keeps_it_or_names_it(run: Run) -> None:
    whole = run(rows().drop("spend"), "label", "classification", memory_limit_mb=1000.0)
    card = whole["model"].metadata["card"]
    assert card["budget_met"] is True
    assert 0 <= card["graph_memory_mb"] < 1000.0 == card["memory_limit_mb"]
    counted = footprint.estimate(whole["model"].path.read_bytes())
    small = run(rows().drop("spend"), "label", "classification", memory_limit_mb=counted / 2)
    assert footprint.estimate(small["model"].path.read_bytes()) <= counted / 2
    assert small["model"].metadata["card"]["members"] < card["members"]
    none = run(rows().drop("spend"), "label", "classification", memory_limit_mb=1e-3, trials=2)["model"].metadata[
        "card"
    ]
    assert none["budget_met"] is False
    assert re.search(r"best effort: the graph takes .* MB of memory of 0.001", none["reason"])


def test_without_a_limit_memory_is_not_measured(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(footprint, "measure", lambda graphs: pytest.fail("it takes seconds"))
    made = run(rows().drop("spend"), "label", "classification", trials=1)
    assert "graph_memory_mb" not in made["model"].metadata["card"]


def test_a_graph_that_cannot_be_measured_keeps_no_limit(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def dies(graphs: Any) -> Any:
        raise InvalidGraph("its process ended with status 9")

    monkeypatch.setattr(footprint, "measure", dies)
    card = run(rows().drop("spend"), "label", "classification", trials=1, memory_limit_mb=100.0)["model"].metadata[
        "card"
    ]
    assert (card["budget_met"], card["graph_memory_mb"]) == (False, None)
    assert "status 9" in card["reason"]
    json.dumps(card, allow_nan=False)
