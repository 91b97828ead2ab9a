"""One study over the steps of a loop, on the local engine."""

from pathlib import Path

import optuna
import pytest
from kfp import compiler, dsl
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from components.hpo.component import WORKSPACE, hpo_workers
from fleetml.engines import local
from fleetml.learn import search_space
from fleetml.learn.tabular_trainer import TabularTrainer
from fleetml.pipeline import load
from fleetml.records import Run
from fleetml.settings import Settings
from tests.learn.study.test_postgres import server  # noqa: F401 - a fixture

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


def pipeline_of(given):
    @dsl.pipeline(name="tuned", pipeline_config=WORKSPACE)
    def tuned(study_storage: str = ""):
        train, val = (
            dsl.importer(artifact_uri=given[name], artifact_class=dsl.Dataset).output for name in ("train", "val")
        )
        model = dsl.importer(artifact_uri=given["model"], artifact_class=dsl.Model).output
        hpo_workers(
            train, val, model, model, 3, study_storage, trials=TRIALS, timeout_seconds=300, latency_limit_ms=1000.0
        )

    return tuned


@pytest.fixture
def tuned(given, tmp_path: Path, project: Settings):
    """Return a function that runs the pipeline with a storage and returns the record of the run."""
    (project.project / "components").symlink_to(Path(__file__).parents[3] / "components")
    path = tmp_path / "tuned.yaml"
    compiler.Compiler().compile(pipeline_of(given), str(path))
    plan = load(path)

    def run(storage: str) -> Run:
        job = local.Job(plan, path, plan.bind({"study_storage": storage}), "r")
        assert local.run(job, project) == "succeeded"
        return Run(project.home, "r")

    return run


def study_in(journal: Path):
    """Return the only study of a journal."""
    return optuna.load_study(study_name=None, storage=JournalStorage(JournalFileBackend(str(journal))))


@pytest.mark.parametrize("named", [False, True])
def test_three_steps_share_the_trials_and_the_last_publishes_the_best(tuned, tmp_path: Path, named: bool):
    run = tuned(str(tmp_path / "studies" / "journal") if named else "")
    study = study_in(tmp_path / "studies" / "journal" if named else run.workspace / "studies.journal")
    assert len(study.trials) == TRIALS
    assert {trial.state.name for trial in study.trials} == {"COMPLETE"}
    figures = run.latest()["hpo-best"].figures
    assert figures["family"] == "linear"
    assert figures["validation_mase"] == pytest.approx(min(trial.value for trial in study.trials), abs=1e-4)
    assert figures["workers"] == 3


def test_they_share_it_in_a_database_too(tuned, server):  # noqa: F811 - the fixture
    run = tuned(server)
    (study,) = optuna.get_all_study_summaries(server.replace("://", "+psycopg2://"))
    assert study.n_trials == TRIALS
    assert run.latest()["hpo-best"].figures["validation_mase"] == pytest.approx(study.best_trial.value, abs=1e-4)
    assert not list(run.workspace.iterdir())


def test_a_literal_storage_needs_no_workspace(given, tmp_path: Path):
    @dsl.pipeline(name="tuned")
    def literal():
        model = dsl.importer(artifact_uri=given["model"], artifact_class=dsl.Model).output
        data = dsl.importer(artifact_uri=given["train"], artifact_class=dsl.Dataset).output
        hpo_workers(data, data, model, model, 2, "/shared/journal")

    compiler.Compiler().compile(literal, str(tmp_path / "literal.yaml"))
    assert "workspace_path" not in (tmp_path / "literal.yaml").read_text()
