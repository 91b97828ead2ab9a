import json

import pyarrow.parquet as pq
import pytest

from components.automl import forecasts
from components.automl.automl import automl
from fleetml.component import Artifact
from fleetml.errors import InvalidParameter
from fleetml.learn import graph as graphs
from fleetml.learn import search, tabular
from fleetml.learn.forecaster import Forecaster
from fleetml.learn.leaderboard import SearchFailed
from fleetml.learn.search_space import defaults
from fleetml.learn.windows import load

NAMES = ("train", "val", "model", "single", "leaderboard", "report", "metrics")


@pytest.fixture
def step(tmp_path, windows):
    """Return a function that runs automl on small windows, and returns its outputs by name."""

    def run(trials=6, timeout_seconds=60, seed=0, **more):
        made = {name: Artifact(name, str(tmp_path / name)) for name in NAMES}
        windows(300).save(made["train"].path)
        windows(60, seed=1).save(made["val"].path)
        automl(**made, trials=trials, timeout_seconds=timeout_seconds, seed=seed, **more)
        return made

    return run


def test_every_family_is_tried_with_its_defaults_and_the_best_graph_wins(step):
    made = step()
    rows = pq.read_table(made["leaderboard"].path).to_pylist()
    assert {row["family"]: json.loads(row["hyperparameters"]) for row in rows} == {
        family: defaults(space) for family, space in tabular.FAMILIES.items()
    }
    assert all(row["state"] == "trained" for row in rows)
    found = graphs.describe(graphs.load(made["model"].path))
    assert found.family == rows[0]["family"] == made["model"].metadata["family"]
    assert made["model"].metadata["validation_mase"] == rows[0]["validation_mase"]
    assert made["metrics"].metadata["trials"] == 6


def test_a_family_that_fails_is_recorded_and_the_others_go_on(step, monkeypatch):
    def break_down(*arguments):
        raise MemoryError("no room")

    monkeypatch.setattr(tabular, "_FITS", {**tabular._FITS, "xgboost": break_down})
    made = step()
    last = pq.read_table(made["leaderboard"].path).to_pylist()[-1]
    assert (last["family"], last["state"], last["reason"]) == ("xgboost", "failed", "MemoryError: no room")
    assert made["metrics"].metadata["failed"] == 1


def test_when_all_fail_the_leaderboard_is_left_and_the_first_cause_named(step, monkeypatch, tmp_path):
    monkeypatch.setattr(tabular, "_FITS", {})
    with pytest.raises(SearchFailed, match="6 trials and none; the first \\(lightgbm"):
        step()
    assert pq.read_table(tmp_path / "leaderboard").num_rows == 6
    assert not (tmp_path / "model").exists()


def test_the_ensemble_is_published_and_the_best_trial_beside_it(step, monkeypatch):
    from fleetml.learn.metrics import mase

    monkeypatch.setattr(forecasts, "_judged", lambda *given: (2.0, 1.0, 0.0))
    made = step(trials=12)
    rows = pq.read_table(made["leaderboard"].path).to_pylist()
    assert [row["state"] for row in rows].count("joined") == 1
    assert (rows[0]["family"], made["model"].metadata["family"]) == ("ensemble", "ensemble")
    assert made["single"].metadata["family"] == rows[1]["family"]
    assert rows[0]["validation_mase"] < rows[1]["validation_mase"]
    val = load(made["val"].path)
    for name, row in (("model", rows[0]), ("single", rows[1])):
        assert mase(val, Forecaster(made[name].path).forecast(val)) == pytest.approx(row["validation_mase"], rel=1e-5)
    assert made["metrics"].metadata["trials"] == 12
    assert made["metrics"].metadata["members"] == len(json.loads(rows[0]["hyperparameters"])["members"]) > 1
    page = made["report"].path.read_text()
    assert "the ensemble" in page
    assert "Learning curve" in page
    assert "vm_metrics:cpu_usage" in page


def test_a_model_over_a_limit_is_a_best_effort_and_one_inside_wins(step, monkeypatch):
    sizes = {row["family"]: row["size_bytes"] for row in pq.read_table(step()["leaderboard"].path).to_pylist()}
    least = min(sizes, key=lambda family: sizes[family])
    made = step(size_limit_mb=1.001 * sizes[least] / 1e6)
    assert (made["single"].metadata["family"], made["single"].metadata["budget_met"]) == (least, True)
    states = pq.read_table(made["leaderboard"].path)["state"].to_pylist()
    assert states.count("infeasible") == 5
    assert step(size_limit_mb=1e-4)["model"].metadata["budget_met"] is False


def test_a_limit_of_nothing_is_refused(step):
    with pytest.raises(InvalidParameter, match="'size_limit_mb'"):
        step(size_limit_mb=0)


def test_an_empty_budget_is_refused_before_any_work(step, tmp_path):
    with pytest.raises(InvalidParameter, match="'trials'"):
        step(trials=0)
    assert not (tmp_path / "leaderboard").exists()


def test_a_counted_search_gives_the_same_model_however_slow_the_machine_is(step, monkeypatch):
    def once(latency_ms):
        monkeypatch.setattr(search, "check_latency", lambda graph, limit: latency_ms)
        made = step(trials=7, timeout_seconds=600, counted=True)
        board = pq.read_table(made["leaderboard"].path).drop_columns(["seconds", "latency_ms"])
        return made["model"].path.read_bytes(), board

    monkeypatch.setattr(forecasts, "_judged", lambda *given: (2.0, 1.0, 0.0))  # so that there is an ensemble
    assert once(0.5) == once(500.0)


def test_a_search_without_progress_ends_early(step):
    rows = pq.read_table(step(trials=40, patience=1)["leaderboard"].path).sort_by("trial").to_pylist()
    errors = [row["validation_mase"] for row in rows]
    assert len(errors) < 40
    assert errors[-1] > errors[-2] == min(errors)
