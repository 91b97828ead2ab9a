"""One study over the steps of a loop, on the local engine."""

from pathlib import Path

import optuna
import pytest
from kfp import compiler, dsl
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from components.hpo.component import hpo_workers
from fleetml.engines import local
from fleetml.learn import search_space
from fleetml.learn.tabular_trainer import TabularTrainer
from fleetml.pipeline import load
from fleetml.records import Run
from fleetml.settings import Settings

TRIALS = 5


@pytest.fixture
def given(tmp_path, windows):
    """Return the URIs of the inputs of hpo."""
    train, val = windows(120), windows(40, seed=1)
    train.save(tmp_path / "train")
    val.save(tmp_path / "val")
    trainer = TabularTrainer(train, val, 0)
    chosen = search_space.defaults(trainer.families["linear"])
    made = trainer.train("linear", chosen, float("inf"), lambda epoch, score: None)
    (tmp_path / "model").write_bytes(made.graph.SerializeToString())
    return {name: (tmp_path / name).as_uri() for name in ("train", "val", "model")}


def pipeline_of(given, storage):
    @dsl.pipeline(name="tuned")
    def tuned():
        train, val = (
            dsl.importer(artifact_uri=given[name], artifact_class=dsl.Dataset).output for name in ("train", "val")
        )
        model = dsl.importer(artifact_uri=given["model"], artifact_class=dsl.Model).output
        hpo_workers(train, val, model, model, 3, storage, trials=TRIALS, timeout_seconds=300, latency_limit_ms=1000.0)

    return tuned


def test_three_steps_share_the_trials_and_the_last_publishes_the_best(given, tmp_path: Path, project: Settings):
    (project.project / "components").symlink_to(Path(__file__).parents[3] / "components")
    path, journal = tmp_path / "tuned.yaml", tmp_path / "studies" / "journal"
    compiler.Compiler().compile(pipeline_of(given, str(journal)), str(path))
    plan = load(path)
    assert local.run(local.Job(plan, path, plan.bind({}), "r"), project) == "succeeded"
    study = optuna.load_study(study_name=None, storage=JournalStorage(JournalFileBackend(str(journal))))  # the only one
    assert len(study.trials) == TRIALS
    assert {trial.state.name for trial in study.trials} == {"COMPLETE"}
    figures = Run(project.home, "r").latest()["hpo-best"].figures
    assert figures["family"] == "linear"
    assert figures["validation_mase"] == pytest.approx(min(trial.value for trial in study.trials), abs=1e-4)
    assert figures["workers"] == 3
