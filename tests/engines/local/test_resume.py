"""What a resumed run keeps, and what it says of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fleetml.engines import local
from fleetml.pipeline import load
from fleetml.records import Run
from fleetml.settings import Settings
from tests.small_pipelines import Pipeline

PIPELINES = Path(__file__).parents[2] / "pipelines"

CODE = (
    "def a(): return {'out': 1}\n"
    "def b(a): return {'out': a + 1}\n"
    "def c(b): raise ValueError('not now')\n"
    "def d(): return {'out': 9}\n"
)
TASKS: dict[str, list[str]] = {"a": [], "b": ["a"], "c": ["b"], "d": []}


@pytest.fixture
def stopped(pipeline: Pipeline, project: Settings) -> Path:
    """Run a pipeline whose third step fails; return its IR."""
    path = pipeline(CODE, TASKS, uncached=("d",))
    plan = load(path)
    assert local.run(local.Job(plan, path, {}, "r"), project) == "failed"
    return path


def finished(path: Path, project: Settings, **known: Any) -> local.Kept:
    return local.finished(Run(project.home, "r"), load(path), project, **known)


def test_what_succeeded_is_kept_and_the_rest_is_run(
    stopped: Path, project: Settings, stage: Callable[[str], str]
) -> None:
    kept = finished(stopped, project)
    assert set(kept.outcomes) == {"a", "b", "d"}
    assert (kept.stale, kept.damaged) == ({}, ())
    stage(CODE.replace("raise ValueError('not now')", "return {'out': b + 1}"))
    plan = load(stopped)
    assert local.run(local.Job(plan, stopped, {}, "r", kept.outcomes, resumed=True), project) == "succeeded"
    records = Run(project.home, "r")
    assert {step: len(records.attempts(step)) for step in TASKS} == {"a": 1, "b": 1, "c": 2, "d": 1}
    assert records.latest()["c"].outcome["parameters"] == {"out": 3}  # type: ignore[index]


def test_changed_code_makes_steps_stale_but_they_are_kept_unless_rechecked(
    stopped: Path, project: Settings, stage: Callable[[str], str]
) -> None:
    stage(CODE + "# mended\n")
    kept = finished(stopped, project)
    assert set(kept.outcomes) == {"a", "b", "d"}
    assert kept.stale == {"a": "code", "b": "code"}  # of d, which is never cached, nobody knows
    assert set(finished(stopped, project, recheck=True).outcomes) == {"d"}


def test_a_step_after_one_that_runs_again_runs_again(
    pipeline: Pipeline, project: Settings, stage: Callable[[str], str]
) -> None:
    code = "def a(): return {'out': 1}\ndef b(a): return {'out': a + 1}\n"
    path = pipeline(code, {"a": [], "b": ["a"]})
    local.run(local.Job(load(path), path, {}, "r"), project)
    records = Run(project.home, "r")
    number, _ = records.begin("a")
    records.write(records.latest()["a"].__class__("a", number, "failed"))
    assert finished(path, project).outcomes == {}


def test_a_result_that_is_gone_runs_again(project: Settings) -> None:
    path = Path(__file__).parents[2] / "pipelines/types.yaml"
    plan = load(path)
    assert local.run(local.Job(plan, path, plan.bind({}), "r"), project) == "succeeded"
    latest = Run(project.home, "r").latest()
    assert set(finished(path, project).outcomes) == set(latest)
    victim = next(
        item["uri"]
        for attempt in latest.values()
        for items in attempt.outcome["artifacts"].values()  # type: ignore[index]
        for item in items
        if item["digest"] != "none"
    )
    Path(victim).unlink()
    kept = finished(path, project)
    assert len(kept.damaged) == 1
    assert len(kept.outcomes) < len(latest)


def test_iterations_of_a_loop_that_are_done_are_kept(project: Settings) -> None:
    path = PIPELINES / "loop_fails.yaml"
    plan = load(path)
    assert local.run(local.Job(plan, path, {}, "r"), project) == "failed"
    kept = local.finished(Run(project.home, "r"), plan, project)
    assert set(kept.outcomes) == {"count", "for-loop-1/1/refuse-zero", "for-loop-1/1/echo"}
    assert local.run(local.Job(plan, path, {}, "r", kept.outcomes, resumed=True), project) == "failed"
    records = Run(project.home, "r")
    tries = {step: len(records.attempts(step)) for step in records.read()["steps"]}
    assert tries["for-loop-1/1/echo"] == tries["count"] == 1
    assert tries["for-loop-1/0/refuse-zero"] == 2
