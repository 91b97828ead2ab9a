"""The whole search on small tables, as the step runs it: trials in processes of their own, one proven graph at the end."""

from __future__ import annotations

import json
import math
import time
from typing import Any

import polars as pl
import pytest

from components.automl import assembly, choice, finish, portfolio
from fleetml.component import Artifact
from fleetml.errors import InvalidData, InvalidParameter
from fleetml.learn.search_space import Range
from fleetml.learn.tables import fit, members, scores, table
from fleetml.learn.tables.model import TabularModel
from tests.components.automl.conftest import Run, rows


def held(made: dict[str, Artifact]) -> dict[str, float]:
    model, given = TabularModel(made["model"].path), table.read(made["dataset"].path)
    test = given.part("test")
    return scores.scores(model.about, test[given.recipe.target], model.predict(test))


def test_classes_end_in_one_proven_graph_with_card_leaderboard_and_page(run: Run) -> None:
    made = run(rows().drop("spend"), "label", "classification")
    card = made["model"].metadata["card"]
    assert card["proven_on_rows"] >= 192 + 200
    assert card["proof_mean_difference"] <= 1e-4
    assert card["budget_met"] is True
    assert held(made)["roc_auc"] > 0.8
    assert made["model"].metadata["metric"] == "log_loss"
    assert made["model"].metadata["learnt_from"] == ["train", "validation"]  # so evaluate refuses to judge by them
    board = pl.read_parquet(made["leaderboard"].path)
    assert board["name"][0] == "the model"
    assert set(board["state"]) >= {"complete", "baseline"}
    assert board.filter(pl.col("name") == "constant")["log_loss"][0] > board["log_loss"][0]
    page = made["report"].path.read_text()
    assert all(said in page for said in ("Learning curve", "Shapley", "dealt out anew", "age", "stratified"))
    assert made["metrics"].metadata["log_loss"] == card["score"]
    assert json.dumps(made["model"].metadata)


def test_values_are_learnt_and_answered_in_their_unit(run: Run) -> None:
    made = run(rows().drop("label"), "spend", "regression")
    card = made["model"].metadata["card"]
    assert card["metric"] == "rmse"
    assert card["score"] < 0.4 * card["constant"]
    assert held(made)["rmse"] < 0.5 * card["constant"]


def test_boosted_trees_that_tell_values_answer_with_one_fitted_to_all_rows(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = []
    spread = finish.spread
    monkeypatch.setattr(portfolio, "SPACES", {"lightgbm": portfolio.SPACES["lightgbm"]})
    monkeypatch.setattr(finish, "spread", lambda by, parts: counted.append(parts) or spread(by, parts))
    made = run(rows().drop("label"), "spend", "regression", trials=1)
    card = made["model"].metadata["card"]
    ((*folds, whole),) = counted[-1]
    assert (len(folds) + 1, whole) == (card["members"], pytest.approx(1 / 3))
    assert folds == pytest.approx([2 / 3 / len(folds)] * len(folds))
    assert finish.BOTH in pl.read_parquet(made["leaderboard"].path)["finished_as"].to_list()
    assert card["proven_on_rows"] >= 192 + 200


@pytest.mark.parametrize(("family", "way"), [("lightgbm", finish.BAG), ("extra_trees", finish.ONE)])
def test_where_the_one_of_all_rows_cannot_be_made_the_leaderboard_names_what_answers(
    run: Run, monkeypatch: pytest.MonkeyPatch, family: str, way: str
) -> None:
    def too_large(*given: Any) -> Any:
        raise MemoryError("no room")

    monkeypatch.setattr(portfolio, "SPACES", {family: portfolio.SPACES[family]})
    monkeypatch.setattr(finish, "refitted", too_large)
    made = run(rows().drop("label"), "spend", "regression", trials=1)
    board = pl.read_parquet(made["leaderboard"].path).filter(pl.col("weight") > 0, pl.col("state") == "complete")
    assert board["finished_as"].to_list() == [way]


def test_the_same_seed_and_trials_give_the_same_bytes(run: Run) -> None:
    first = run(rows().drop("spend"), "label", "classification", seed=3)["model"].path.read_bytes()
    assert run(rows().drop("spend"), "label", "classification", seed=3)["model"].path.read_bytes() == first


def test_with_one_worker_nothing_that_is_measured_decides_the_bytes(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def slowed(factor: float) -> bytes:
        fitted = fit.fit
        with monkeypatch.context() as patch:
            patch.setattr(members, "latency", lambda content, width: factor)
            patch.setattr(assembly, "latency", lambda content, given: (factor, factor))
            patch.setattr(fit, "fit", lambda *given: (time.sleep(0.002 * factor), fitted(*given))[1])
            made = run(rows().drop("spend"), "label", "classification", seed=3, trials=2)
        return made["model"].path.read_bytes()

    assert slowed(1.0) == slowed(20.0)


def test_trials_that_end_late_leave_the_choice_its_time_but_not_more_than_seconds_on_top() -> None:
    limits = finish.Limits(10.0, 20.0, 50.0, 1, 1000, 40.0, 55.0)
    late = limits.later(2.0)
    assert (late.chosen, late.deadline, late.end) == (42.0, 52.0, 57.0)
    assert limits.later(-5.0) == limits
    assert limits.later(100.0).end == 58.0


def test_where_the_time_for_members_is_gone_one_is_made_yet(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("components.automl.automl_tabular.MADE", 0.0)
    monkeypatch.setattr("components.automl.assembly.LAST_SECONDS", 60.0)
    made = run(rows().drop("spend"), "label", "classification", trials=2)
    assert made["model"].metadata["card"]["members"] == 1
    assert made["model"].metadata["card"]["algorithm"] != "constant"


def test_what_memory_does_not_hold_is_left_out_and_told(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "COPIES", 400 * 2**20 / 2 / (192 * 2 * 8) / 2)  # two trials' answers fit
    made = run(rows().drop("spend"), "label", "classification", trials=3, memory_mb=400)
    card = made["model"].metadata["card"]
    assert any("memory_mb=400 holds the answers of 2 trials, not of 3" in note for note in card["notes"])
    any_memory = run(rows().drop("spend"), "label", "classification", trials=3, memory_mb=0)["model"].metadata["card"]
    assert not any("memory_mb" in note for note in any_memory["notes"])
    assert card["algorithm"] != "constant"


def test_few_rows_are_given_to_simple_families_only(run: Run) -> None:
    made = run(rows(40).drop("spend"), "label", "classification")
    assert set(pl.read_parquet(made["leaderboard"].path)["family"].to_list()) <= {"linear", "constant", "ensemble"}


def test_rows_are_validated_by_group_or_in_the_order_of_time(run: Run) -> None:
    frame = rows(120).drop("spend").with_columns(pl.Series("host", [f"h{at % 6}" for at in range(120)]))
    made = run(frame, "label", "classification", group="host", trials=2)
    assert made["model"].metadata["card"]["validation"].startswith("grouped by host")
    assert "host" not in [feature.name for feature in TabularModel(made["model"].path).about.features]
    frame = frame.with_columns(pl.Series("when", range(120)))
    made = run(frame, "label", "classification", time_column="when", trials=2)
    assert made["model"].metadata["card"]["validation"].startswith("ordered in time")


def test_what_leaks_and_what_tells_nothing_is_named(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    frame = rows().drop("spend").with_columns(pl.lit(None, pl.Float64).alias("empty"), pl.lit(1).alias("same"))
    frame = frame.with_columns((pl.col("label") == "yes").cast(pl.Float64).alias("answer"))
    made = run(frame, "label", "classification", trials=2)
    notes = "\n".join(made["model"].metadata["card"]["notes"])
    for said in ("'empty' is left out", "'same' is left out", "'answer' alone tells the target"):
        assert said in notes
        assert said in caplog.text
    assert "answer" in made["report"].path.read_text()


@pytest.mark.parametrize(
    ("parameters", "error", "says"),
    [
        ({"metric": "rmse"}, InvalidParameter, "metric of a classification must be one of accuracy"),
        ({"group": "nobody"}, InvalidParameter, "group must be a column, got 'nobody'"),
        ({"group": "city", "time_column": "age"}, InvalidParameter, "got group and time_column"),
        ({"trials": 0}, InvalidParameter, "'trials'"),
        ({"latency_limit_ms": 0}, InvalidParameter, "'latency_limit_ms'"),
        ({"memory_limit_mb": -1}, InvalidParameter, "'memory_limit_mb'"),
        ({"size_limit_mb": 0}, InvalidParameter, "'size_limit_mb'"),
        ({"size_limit_mb": math.nan}, InvalidParameter, "'size_limit_mb'"),
    ],
)
def test_wrong_parameters_are_told(run: Run, parameters: dict[str, Any], error: type, says: str) -> None:
    with pytest.raises(error, match=says):
        run(rows(60).drop("spend"), "label", "classification", **parameters)


def test_data_that_cannot_be_learnt_are_told(run: Run) -> None:
    with pytest.raises(InvalidData, match="two classes"):
        run(rows(60).drop("spend").with_columns(pl.lit("yes").alias("label")), "label", "classification")
    with pytest.raises(InvalidData, match="must vary"):
        run(rows(60).drop("label").with_columns(pl.lit(1.0).alias("spend")), "spend", "regression")
    with pytest.raises(InvalidData, match="at least 10 rows, got 4"):
        run(
            rows(5).drop("spend").with_columns(pl.Series("label", ["yes", "no"] * 2 + ["no"])),
            "label",
            "classification",
        )


@pytest.mark.parametrize("objective", ["classification", "regression"])
def test_every_start_is_a_point_of_its_family(objective: str) -> None:
    families = portfolio.spaces(objective)
    every = portfolio.starts(families, objective)
    assert len(every) == 18
    for start in every:
        family = start["family"]
        ranges: dict[str, Range] = dict(families[family])
        assert {name.removeprefix(f"{family}.") for name in start if name != "family"} == set(ranges)
        assert all(field.low <= start[f"{family}.{name}"] <= field.high for name, field in ranges.items())
        point = {name: start[f"{family}.{name}"] for name in ranges}
        chosen = portfolio.hyperparameters(family, point, 1000, 20.0, objective)
        assert chosen if family == "net" else fit.checked(family, chosen)


@pytest.mark.parametrize(("objective", "trees", "leaf"), [("classification", 100, 9), ("regression", 25, 3)])
def test_a_forest_of_many_rows_has_room_by_larger_leaves_one_of_values_by_fewer_trees_first(
    objective: str, trees: int, leaf: int
) -> None:
    point = {"max_depth": 16, "min_samples_leaf": 1, "max_features": 1.0}
    found = portfolio.hyperparameters("extra_trees", point, 20_000, 20.0, objective)
    assert (found["n_estimators"], found["min_samples_leaf"]) == (trees, leaf)
    coarse = portfolio.hyperparameters("extra_trees", {**point, "min_samples_leaf": 20}, 20_000, 20.0, objective)
    assert (coarse["n_estimators"], coarse["min_samples_leaf"]) == (100, 20)
    few = portfolio.hyperparameters("extra_trees", point, 500, 20.0, objective)
    assert (few["n_estimators"], few["min_samples_leaf"]) == (100, 1)
    free = portfolio.hyperparameters("extra_trees", point, 20_000, math.inf, objective)
    assert (free["n_estimators"], free["min_samples_leaf"]) == (100, 1)
