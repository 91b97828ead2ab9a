import dataclasses
import json
import math

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.hpo.best import hpo_best
from components.hpo.hpo import Tuner, hpo, judged
from fleetml.component import Artifact
from fleetml.errors import InvalidParameter
from fleetml.learn import ensemble, metrics, quantile_head, search, search_space, windows
from fleetml.learn import graph as graphs
from fleetml.learn.limits import Limits
from fleetml.learn.neural_trainer import NeuralTrainer
from fleetml.learn.quantiles import LEVELS
from fleetml.learn.tabular_trainer import TabularTrainer

SEED = 5  # not that of hpo: trained again there, a candidate is another one
NAMES = ("train", "val", "automl_model", "nas_model", "model", "leaderboard", "metrics", "report")


@pytest.fixture
def made(tmp_path, windows):
    """Return the artifacts of hpo, train and val written."""
    made = {name: Artifact(name, str(tmp_path / name)) for name in NAMES}
    windows(300).save(made["train"].path)
    windows(60, seed=1).save(made["val"].path)
    return made


def train(made, kind, family, artifact, **changed):
    """Train one candidate and publish it as an input of hpo."""
    trainer = kind(windows.load(made["train"].path), windows.load(made["val"].path), SEED)
    chosen = {**search_space.defaults(trainer.families[family]), **changed}
    candidate = trainer.train(family, chosen, float("inf"), lambda epoch, score: None)
    graphs.publish(candidate.graph, made[artifact])
    return candidate


@pytest.fixture
def candidates(made):
    weak = train(made, TabularTrainer, "xgboost", "automl_model", trees=1, learning_rate=1e-3)
    strong = train(made, NeuralTrainer, "mlp", "nas_model")
    assert strong.validation_mase < weak.validation_mase
    return weak, strong


def run(made, trials=3, latency_limit_ms=100.0, **more):
    hpo(**made, trials=trials, timeout_seconds=60, latency_limit_ms=latency_limit_ms, seed=0, **more)
    return pq.read_table(made["leaderboard"].path).sort_by("trial").to_pylist()


def test_it_tunes_the_better_model_around_its_point_and_never_ends_worse(made, candidates):
    _, strong = candidates
    rows = run(made)
    assert {row["family"] for row in rows} == {"mlp"}
    assert json.loads(rows[0]["hyperparameters"]) == strong.hyperparameters
    assert rows[0]["validation_mase"] == pytest.approx(strong.validation_mase)
    for row in rows[1:]:
        assert json.loads(row["hyperparameters"])["width"] in range(80, 190)
    assert made["model"].metadata["validation_mase"] <= rows[0]["validation_mase"]
    assert "<h2>History</h2>" in made["report"].path.read_text()
    assert made["metrics"].metadata["incumbent_mase"] == round(rows[0]["validation_mase"], 4)


def test_one_trial_hands_the_incumbent_on_as_it_is(made, candidates):
    run(made, trials=1)
    published = graphs.load(made["model"].path)
    assert quantile_head.taken_off(published).SerializeToString() == made["nas_model"].path.read_bytes()
    assert graphs.describe(published).quantiles == LEVELS
    graphs.publish(published, made["nas_model"])
    run(made, trials=1)
    assert made["model"].path.read_bytes() == made["nas_model"].path.read_bytes(), "with quantiles, the same again"


def test_a_tabular_model_is_tuned_when_it_is_better(made):
    train(made, TabularTrainer, "xgboost", "automl_model")
    train(made, NeuralTrainer, "mlp", "nas_model", learning_rate=1e-9)
    rows = run(made)
    assert {row["family"] for row in rows} == {"xgboost"}


def test_an_ensemble_is_kept_where_nothing_tuned_is_better_and_the_best_of_its_trials_is_tuned(made, tmp_path):
    single = train(made, TabularTrainer, "lightgbm", "automl_model")
    other = train(made, TabularTrainer, "linear", "automl_model")
    together = ensemble.weighted([single.graph, other.graph], [0.6, 0.4])
    train(made, NeuralTrainer, "mlp", "nas_model", learning_rate=1e-9)
    alone = Artifact("single", str(tmp_path / "single"))
    graphs.publish(single.graph, alone)
    graphs.publish(together, made["automl_model"])
    rows = run(made, automl_single=alone)
    assert [row["family"] for row in rows] == ["lightgbm"] * 3 + ["ensemble"]
    assert "kept as it is" in rows[3]["reason"]
    best = min(rows, key=lambda row: row["validation_mase"])
    assert made["model"].metadata["family"] == best["family"]


def test_a_model_over_the_latency_limit_is_passed_over(made, candidates, monkeypatch):
    real = search.check_latency

    def slow_mlp(model, limit):
        if graphs.describe(model).family == "mlp" and limit < math.inf:
            raise search.TooSlow(900.0, limit)
        return real(model, limit)

    monkeypatch.setattr(search, "check_latency", slow_mlp)
    assert run(made, trials=1)[0]["family"] == "xgboost"


def test_of_two_models_over_the_limit_the_faster_is_a_best_effort(made, candidates):
    rows = run(made, trials=2, latency_limit_ms=1e-6)
    assert [row["state"] for row in rows] == ["infeasible", "infeasible"]
    assert made["model"].metadata["budget_met"] is False


def test_a_candidate_over_the_limit_is_none_where_one_inside_is_found(made, candidates):
    _, slow = candidates

    class Other:
        families, limit = {"mlp": NeuralTrainer.families["mlp"]}, slow.latency_ms / 2

        def train(self, family, hyperparameters, deadline, report):
            return dataclasses.replace(
                slow, hyperparameters=hyperparameters, validation_mase=9.0, latency_ms=self.limit
            )

    tuner = Tuner(slow, Other())
    found = search.search(tuner, tuner.families, 2, 60.0, 0)
    assert [each.state for each in found.outcomes] == ["infeasible", "trained"]
    assert found.incumbent().latency_ms <= Other.limit
    assert search.search(tuner, tuner.families, 1, 60.0, 0).incumbent() is slow
    assert tuner.trainer.limit == float("inf")


def renamed(artifact, family):
    """Publish a model again as one of another family."""
    model = graphs.load(artifact.path)
    said = graphs.describe(model)
    graphs.publish(graphs.finish(model, said.meta, family, {"past": 6}), artifact)


def test_a_model_without_hyperparameters_to_search_is_kept_as_it_is_and_the_other_one_tuned(made, candidates):
    renamed(made["nas_model"], "mixture")
    rows = run(made, trials=2)
    assert [row["family"] for row in rows] == ["xgboost", "xgboost", "mixture"]
    assert rows[2]["reason"] == "kept as it is: the family mixture has no hyperparameters to search"
    assert json.loads(rows[2]["hyperparameters"]) == {"past": 6}
    best = min(rows, key=lambda row: row["validation_mase"])
    assert made["model"].metadata["family"] == best["family"]
    assert made["metrics"].metadata["incumbent_mase"] == round(rows[2]["validation_mase"], 4)


def test_one_that_is_too_slow_gives_way_to_what_is_tuned(made, candidates, monkeypatch):
    renamed(made["nas_model"], "mixture")
    real = search.check_latency

    def slow(model, limit):
        if graphs.describe(model).family == "mixture" and limit < math.inf:
            raise search.TooSlow(200.0, limit)
        return real(model, limit)

    monkeypatch.setattr(search, "check_latency", slow)
    rows = run(made, trials=1)
    assert (rows[1]["state"], rows[1]["validation_mase"]) == ("infeasible", None)
    assert rows[1]["reason"] == "latency 200.00 ms exceeds the limit of 100 ms"
    assert made["model"].metadata["family"] == "xgboost"


def test_where_none_can_be_tuned_the_better_is_handed_on(made, candidates, tmp_path):
    for name in ("automl_model", "nas_model"):
        renamed(made[name], "mixture")
    made["report"].path.write_text("before")
    (other := tmp_path / "other").hardlink_to(made["report"].path)
    rows = run(made)
    assert other.read_text() == "before", "the report is written aside"
    assert [row["state"] for row in rows] == ["trained", "trained"]
    published = quantile_head.taken_off(graphs.load(made["model"].path))
    assert published.SerializeToString() == made["nas_model"].path.read_bytes()
    assert "No model has hyperparameters to search" in made["report"].path.read_text()


def test_workers_train_networks_in_processes_and_a_second_run_goes_on(made, candidates, tmp_path):
    more = {"workers": 2, "sampler": "random", "pruner": "none", "storage": str(tmp_path / "journal")}
    first = run(made, trials=3, **more)
    assert [row["state"] for row in first] == ["trained"] * 3, first
    rows = run(made, trials=4, **more)
    assert rows[:3] == first
    assert len(rows) == 4
    best = min(row["validation_mase"] for row in rows)
    assert made["model"].metadata["validation_mase"] == pytest.approx(best)


def test_an_unknown_sampler_is_told_with_those_there_are(made, candidates):
    with pytest.raises(InvalidParameter, match=r"sampler of a study must be one of auto, .* got 'bayes'"):
        run(made, sampler="bayes")


def test_other_data_are_another_study_in_the_same_storage(made, candidates, tmp_path, windows):
    storage = str(tmp_path / "journal")
    run(made, trials=1, storage=storage)
    before = made["model"].metadata["validation_mase"]
    windows(60, seed=2).save(made["val"].path)
    rows = run(made, trials=1, storage=storage)
    assert made["model"].metadata["validation_mase"] == rows[0]["validation_mase"] != before


@pytest.mark.parametrize("inside", [[False, True], [True, False], [False, False]])
def test_of_the_workers_models_those_inside_the_limits_come_first(made, candidates, inside):
    models = [made["automl_model"], made["nas_model"]]
    for model, met in zip(models, inside, strict=True):
        model.metadata["budget_met"] = met
    pq.write_table(pa.table({"trial": [0]}), made["leaderboard"].path)
    target = {"model": made["model"], "leaderboard": made["report"], "metrics": made["metrics"]}
    hpo_best(models, [made["leaderboard"]] * 2, made["val"], **target)
    if any(inside):
        assert made["model"].path.read_bytes() == models[inside.index(True)].path.read_bytes()
    assert made["model"].metadata["budget_met"] is any(inside)
    assert made["metrics"].metadata["budget_met"] is any(inside)


def test_a_model_over_the_limit_is_forecast_with_and_timed_no_oftener_than_another(made, candidates, monkeypatch):
    real, scored, timed = metrics.mase, [], []
    monkeypatch.setattr(metrics, "mase", lambda *given: scored.append(1) or real(*given))

    def slow(model, limit):
        timed.append(limit)
        raise search.TooSlow(900.0, limit)

    monkeypatch.setattr(search, "check_latency", slow)
    models = {name: made[name] for name in ("automl_model", "nas_model")}
    found = judged(models, search.require_scored(windows.load(made["val"].path), "val"), Limits(latency_ms=5.0))
    assert [each.latency_ms for each in found] == [900.0, 900.0]
    assert (len(scored), timed) == (2, [5.0, 5.0])
