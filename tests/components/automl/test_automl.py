import json

import pyarrow.parquet as pq
import pytest

from components.automl.automl import automl
from fleetml.component import Artifact
from fleetml.errors import InvalidParameter
from fleetml.learn import graph as graphs
from fleetml.learn import search, tabular
from fleetml.learn.leaderboard import SearchFailed
from fleetml.learn.search_space import defaults


@pytest.fixture
def step(tmp_path, windows):
    """Return a function that runs automl on small windows, and returns its outputs by name."""

    def run(trials=6, timeout_seconds=60, seed=0, **more):
        made = {
            name: Artifact(name, str(tmp_path / name)) for name in ("train", "val", "model", "leaderboard", "metrics")
        }
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

    assert once(0.5) == once(500.0)


def test_a_search_without_progress_ends_early(step):
    rows = pq.read_table(step(trials=40, patience=1)["leaderboard"].path).sort_by("trial").to_pylist()
    errors = [row["validation_mase"] for row in rows]
    assert len(errors) < 40
    assert errors[-1] > errors[-2] == min(errors)
