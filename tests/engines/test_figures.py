"""The figures of all runs: what Prometheus reads of runs of the local engine, read by its own parser."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from fleetml.engines import figures, local, record
from fleetml.engines.totals import Totals
from fleetml.pipeline import load
from fleetml.records import Attempt, Run
from fleetml.settings import Settings
from tests.small_pipelines import Pipeline, pipeline

__all__ = ["pipeline"]
CHAIN = "def a(): return {'out': 1}\ndef b(a):\n    if a == 1 and not __import__('os').path.exists(PLACE): raise SystemExit(3)\n    return {'out': 2}\n"


@pytest.fixture
def told(project: Settings) -> Callable[..., float]:
    """Return a function that sums the samples of a name that have these labels."""

    def read(name: str, **labels: str) -> float:
        text = (project.home / "metrics" / "runs.prom").read_text()
        samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
        return sum(s.value for s in samples if s.name == name and labels.items() <= s.labels.items())

    return read


def go(path: Path, project: Settings, run_id: str, **known: object) -> str:
    plan = load(path)
    return local.run(local.Job(plan, path, plan.bind({}), run_id, **known), project)  # type: ignore[arg-type]


def test_runs_steps_reuse_and_cost_are_counted_once(
    pipeline: Pipeline, project: Settings, told: Callable[..., float]
) -> None:
    path = pipeline("def a(): return {'out': 1}\ndef b(a): return {'out': a + 1}\n", {"a": [], "b": ["a"]})
    assert [go(path, project, run_id) for run_id in ("one", "two")] == ["succeeded"] * 2
    about = {"pipeline": "p", "engine": "local"}
    assert told("fleetml_runs_total", state="succeeded", **about) == 2
    assert told("fleetml_run_duration_seconds_count", **about) == 2
    assert told("fleetml_step_attempts_total", step="a", state="succeeded", **about) == 1
    assert told("fleetml_step_attempts_total", state="cached", **about) == 2
    assert told("fleetml_step_duration_seconds_count", **about) == 2, "a reused result took no time"
    assert told("fleetml_step_queue_seconds_count", **about) == 2
    assert told("fleetml_runs_running") == 0
    spent = sum(Run(project.home, run_id).read()["cost"]["cpu_seconds"] for run_id in ("one", "two"))
    assert told("fleetml_step_cpu_seconds_total") == pytest.approx(spent)
    assert told("fleetml_step_cost_usd_total", region="default") > 0
    assert told("fleetml_step_cost_total", currency="USD") == told("fleetml_step_cost_usd_total")
    assert told("fleetml_step_energy_kwh_total", region="default", source="model") > 0
    assert told("fleetml_step_co2_grams_total", step="a", region="default") > 0


def test_a_resumed_run_counts_what_is_new(
    pipeline: Pipeline, project: Settings, told: Callable[..., float], tmp_path: Path
) -> None:
    mended = tmp_path / "mended"
    path = pipeline(CHAIN.replace("PLACE", repr(str(mended))), {"a": [], "b": ["a"]})
    assert go(path, project, "r") == "failed"
    assert told("fleetml_step_attempts_total", step="b", state="failed") == 1
    mended.touch()
    kept = {"a": Run(project.home, "r").latest()["a"].outcome}
    assert go(path, project, "r", resumed=True, kept=kept) == "succeeded"
    assert (told("fleetml_runs_total", state="failed"), told("fleetml_runs_total", state="succeeded")) == (1, 1)
    assert told("fleetml_step_attempts_total", step="a") == 1
    assert told("fleetml_step_attempts_total", step="b", state="succeeded") == 1


def test_a_run_whose_process_died_is_told_with_the_next(project: Settings, told: Callable[..., float]) -> None:
    dead, alive = Run(project.home, "dead"), Run(project.home, "alive")
    for run in (dead, alive):
        run.folder.mkdir(parents=True)
    dead.lock.touch()
    record.begin(dead, {"pipeline": "p", "engine": "local", "steps": ["a"]})
    dead.write(Attempt("a", 1, "succeeded", 10.0, 12.0, cost={"cpu_seconds": 1.5}))
    assert told("fleetml_runs_running", pipeline="p") == 1
    record.begin(alive, {"pipeline": "q", "engine": "airflow", "steps": [], "due": 1.0})
    assert told("fleetml_runs_total", state="died", pipeline="p") == 1
    assert told("fleetml_step_cpu_seconds_total", pipeline="p") == 1.5
    assert (told("fleetml_runs_running", pipeline="p"), told("fleetml_runs_running", engine="airflow")) == (0, 1)
    assert told("fleetml_run_delay_seconds_count", engine="airflow") == 1


def test_waiting_is_counted_from_the_end_of_what_a_step_needs(
    pipeline: Pipeline, project: Settings, told: Callable[..., float]
) -> None:
    path = pipeline("def a(): return {'out': 1}\ndef b(a): return {'out': a + 1}\n", {"a": [], "b": ["a"]})
    run = Run(project.home, "r")
    record.begin(run, {"pipeline": "p", "engine": "airflow", "steps": ["a", "b"]}, path)
    begun = run.read()["begun"]
    run.write(Attempt("a", 1, "succeeded", begun + 2, begun + 100))
    run.write(Attempt("b", 1, "succeeded", begun + 107, begun + 108))
    record.end(run, "succeeded")
    assert told("fleetml_step_queue_seconds_sum") == pytest.approx(9)
    assert told("fleetml_step_queue_seconds_bucket", le="5") == 1


def test_iterations_of_a_loop_are_one_row(project: Settings, told: Callable[..., float]) -> None:
    run = Run(project.home, "r")
    record.begin(run, {"pipeline": "p", "engine": "local", "steps": ["loop/0/fit", "loop/1/fit"]})
    for number in (0, 1):
        run.write(Attempt(f"loop/{number}/fit", 1, "succeeded", 1.0, 2.0))
    record.end(run, "succeeded")
    assert told("fleetml_step_attempts_total", step="loop/fit") == 2


def test_a_run_goes_on_where_its_figures_cannot_be_told(
    pipeline: Pipeline, project: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    project.home.mkdir(parents=True, exist_ok=True)
    (project.home / figures.METRICS).write_text("no folder")
    assert go(pipeline("def a(): return {'out': 1}\n", {"a": []}), project, "r") == "succeeded"
    assert "cannot be told" in caplog.text


def test_damaged_sums_begin_anew(pipeline: Pipeline, project: Settings, told: Callable[..., float]) -> None:
    path = pipeline("def a(): return {'out': 1}\n", {"a": []})
    for number, damage in enumerate(("", "{", "[]", json.dumps({"last": 3}))):
        place = project.home / figures.METRICS / "runs.json"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(damage)
        assert go(path, project, f"r{number}") == "succeeded"
        assert told("fleetml_runs_total") == 1


def test_labels_are_escaped() -> None:
    totals = Totals.empty()
    totals.count("fleetml_runs_total", {"pipeline": 'a "b"\\\n', "state": "failed"})
    (family,) = [f for f in text_string_to_metric_families(totals.exposition()) if f.name == "fleetml_runs"]
    assert family.samples[0].labels["pipeline"] == 'a "b"\\\n'
