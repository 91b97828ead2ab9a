"""A hyperparameter search that no clock decides."""

import math

import pyarrow.parquet as pq
import pytest

from components.hpo.hpo import hpo
from fleetml.component import Artifact
from fleetml.errors import InvalidParameter
from fleetml.learn import graph as graphs
from fleetml.learn import search, search_space, windows
from fleetml.learn.limits import price_of
from fleetml.learn.neural_trainer import NeuralTrainer
from fleetml.learn.tabular_trainer import TabularTrainer

NAMES = ("train", "val", "automl_model", "nas_model", "model", "leaderboard", "metrics", "report")
KEPT = ("trial", "family", "hyperparameters", "state", "validation_mase", "size_bytes", "reason")


@pytest.fixture
def made(tmp_path, windows):
    """Return the artifacts of hpo: a linear model and a better network."""
    made = {name: Artifact(name, str(tmp_path / name)) for name in NAMES}
    windows(60).save(made["train"].path)
    windows(20, seed=1).save(made["val"].path)
    for kind, family, name in ((TabularTrainer, "linear", "automl_model"), (NeuralTrainer, "mlp", "nas_model")):
        graphs.publish(trained(made, kind, family).graph, made[name])
    return made


def trained(made, kind, family):
    trainer = kind(windows.load(made["train"].path), windows.load(made["val"].path), 5)
    return trainer.train(family, search_space.defaults(trainer.families[family]), math.inf, lambda epoch, score: None)


def run(made, **settings):
    given = {"trials": 4, "timeout_seconds": 600, "latency_limit_ms": 5.0, "seed": 0, "counted": True, **settings}
    hpo(**made, **given)
    return pq.read_table(made["leaderboard"].path).sort_by("trial").to_pylist()


def test_the_same_seed_and_trials_give_the_same_model_however_slow_the_machine_is(made, monkeypatch):
    def once(latency_ms):
        monkeypatch.setattr(search, "check_latency", lambda graph, limit: measured(latency_ms, limit))
        rows = run(made)
        assert {row["latency_ms"] for row in rows if row["state"] == "trained"} == {latency_ms}
        assert made["model"].metadata["budget_met"] is (latency_ms < 5), "it is told by measurement"
        return made["model"].path.read_bytes(), [[row[name] for name in KEPT] for row in rows]

    assert once(0.5) == once(500.0)


def measured(latency_ms, limit):
    if latency_ms > limit:
        raise search.TooSlow(latency_ms, limit)
    return latency_ms


def test_operations_are_the_limit_in_the_place_of_latency(made):
    free = run(made)
    costs = {name: price_of(graphs.load(made[name].path), 0.0).operations for name in ("automl_model", "nas_model")}
    assert {row["family"] for row in free} == {"mlp"}
    most = costs["nas_model"] - 1
    assert costs["automl_model"] <= most
    rows = run(made, max_operations=most)
    assert {row["family"] for row in rows} == {"linear"}, "the better one is over the limit"
    assert made["model"].metadata["budget_met"] is True
    rows = run(made, max_operations=1)
    assert {row["state"] for row in rows} == {"infeasible"}
    assert rows[0]["reason"] == f"{min(costs.values())} operations exceed the limit of 1"
    assert made["model"].metadata["budget_met"] is False


@pytest.mark.parametrize("wrong", [{"max_operations": -1}, {"max_operations": 5, "counted": False}])
def test_a_limit_of_operations_is_that_of_a_counted_search(made, wrong):
    with pytest.raises(InvalidParameter, match="max_operations of hpo must be 0"):
        run(made, **wrong)


def test_a_search_without_progress_ends_early(made):
    rows = run(made, trials=40, sampler="random", patience=2)
    errors = [math.inf if row["validation_mase"] is None else row["validation_mase"] for row in rows]
    assert len(rows) == errors.index(min(errors)) + 3 < 40
    assert "2 trials brought nothing better (patience)" in made["report"].path.read_text()
