"""A step that starts another pipeline, on this machine."""

from __future__ import annotations

import json
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest

from fleetml.engines import local
from fleetml.pipeline import load
from fleetml.records import Run
from fleetml.settings import Settings
from fleetml.stack.processes import wait_until

PIPELINES = Path(__file__).parents[2] / "pipelines"
DAGS = Path(__file__).parents[3] / "dags"


@pytest.fixture
def settings(project: Settings) -> Settings:
    """Return a project that has the pipelines `starts` and `published`, the latter with a default of its own."""
    for name in ("published", "starts"):
        (project.project / "dags" / name).mkdir(parents=True)
        shutil.copy(PIPELINES / f"{name}.yaml", project.project / "dags" / name / "pipeline.yaml")
    (project.project / "dags/published/triggers.yaml").write_text("defaults: {n: 3}\n")
    shutil.copytree(DAGS / "refresh_features", project.project / "dags/refresh_features")
    return project


def run(
    settings: Settings, run_id: str = "run", cancel: threading.Event | None = None, retries: int = 0, **given: Any
) -> tuple[str, Run]:
    path = PIPELINES / "starts.yaml"
    plan = load(path)
    job = local.Job(plan, path, plan.bind(given), run_id, workers=1, retries=retries)
    return local.run(job, settings, cancel=cancel), Run(settings.home, run_id)


def test_what_it_starts_is_a_run_with_a_record_and_gives_its_outputs(settings: Settings) -> None:
    state, record = run(settings, given={"word": "hello"})  # one worker, which waits: the other run has its own
    assert state == "succeeded"
    started = record.latest()["start"]
    given = (started.outcome or {})["parameters"]
    assert given["state"] == "succeeded"
    assert given["outputs"]["said"] == "hello"
    assert given["outputs"]["numbers"] == [0, 1, 2]  # the default of its triggers.yaml
    assert Path(given["outputs"]["data"]["uri"]).read_text() == "hello"
    child = Run(settings.home, given["run_id"]).read()
    assert (child["pipeline"], child["state"]) == ("published", "succeeded")
    assert child["parent"] == {"run_id": "run", "step": "start", "wait": True, "chain": ["starts"]}
    assert started.reason == f"run {given['run_id']} of published"
    log = record.log("start")
    assert log is not None
    assert "[echo] succeeded" in log.read_text()
    assert json.loads(record.read()["outputs"]["Output"]) == [given["run_id"], given["outputs"]]


def test_it_fails_when_what_it_started_fails(settings: Settings) -> None:
    state, record = run(settings, given={"word": "w", "n": 0})
    assert state == "failed"
    failed = record.latest()["start"]
    assert failed.failure is not None
    assert failed.failure["message"].endswith("of published failed")
    assert record.latest()["echo"].state == "upstream_failed"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"pipeline": "nowhere"}, "has no 'nowhere'; it has published, refresh-features, starts"),
        ({"pipeline": "starts"}, "starts 'starts', which is started by starts: that would never end"),
        ({"given": {"wrod": "w"}}, "no parameter 'wrod'; did you mean 'word'"),
        ({"given": {}}, "the parameter 'word'"),
        (
            {"pipeline": "refresh-features", "given": {"window_days": 0}},
            "'window_days' of step 'ingest' must be at least 1, got 0",
        ),
    ],
)
@pytest.mark.parametrize("wait", [True, False])
def test_what_cannot_be_started_is_said(settings: Settings, given: dict[str, Any], message: str, wait: bool) -> None:
    state, record = run(settings, **given, wait=wait, retries=2)
    assert state == "failed"
    (attempt,) = record.attempts("start")
    assert attempt.failure is not None
    assert message in attempt.failure["message"]
    assert attempt.failure["user_error"]
    assert [folder.name for folder in (settings.home / "runs").iterdir()] == ["run"]


def test_what_failed_is_started_again_as_often_as_the_policy_says(settings: Settings) -> None:
    _, record = run(settings, given={"word": "w", "n": 0}, retries=1)
    assert [attempt.state for attempt in record.attempts("start")] == ["failed", "failed"]


def test_without_waiting_the_other_run_goes_on_by_itself(settings: Settings) -> None:
    state, record = run(settings, wait=False)
    assert state == "succeeded"
    given = (record.latest()["start"].outcome or {})["parameters"]
    assert (given["state"], given["outputs"]) == ("running", {})
    child = Run(settings.home, given["run_id"])
    assert wait_until(lambda: child.exists() and child.read()["state"] == "succeeded", 60)
    assert child.read()["parameters"] == {"word": "w", "n": 3}
    assert child.read()["parent"] == {"run_id": "run", "step": "start", "wait": False, "chain": ["starts"]}


def test_two_that_start_each_other_without_waiting_come_to_an_end(settings: Settings) -> None:
    ours = (settings.project / "dags/starts/pipeline.yaml").read_text()
    other = settings.project / "dags/published"
    (other / "pipeline.yaml").write_text(ours.replace("name: starts", "name: published"))
    (other / "triggers.yaml").write_text("defaults: {pipeline: starts, wait: false}\n")
    state, record = run(settings, wait=False, given={})
    assert state == "succeeded"
    child = Run(settings.home, (record.latest()["start"].outcome or {})["parameters"]["run_id"])
    assert wait_until(lambda: child.exists() and child.read()["state"] != "running", 60)
    assert "that would never end" in (child.latest()["start"].failure or {})["message"]
    assert len(list((settings.home / "runs").iterdir())) == 2


def test_cancelling_ends_what_it_started(settings: Settings) -> None:
    place = settings.project / "dags/published/pipeline.yaml"
    place.write_text(place.read_text().replace("pathlib.Path(path).write_text(text)", "__import__('time').sleep(600)"))
    cancel = threading.Event()
    child = Run(settings.home, "published--run--start-1")

    def cancel_once_it_runs() -> None:
        wait_until(lambda: child.exists() and bool(child.latest()), 60)
        cancel.set()

    thread = threading.Thread(target=cancel_once_it_runs)
    thread.start()
    state, record = run(settings, cancel=cancel)
    thread.join()
    assert (state, child.read()["state"]) == ("cancelled", "cancelled")
    assert record.latest()["start"].state == "cancelled"
