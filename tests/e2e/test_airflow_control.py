"""Failures, retries, clearing, marking and stopping in a real Airflow."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from fleetml.errors import Unavailable
from fleetml.stack import runs
from fleetml.stack.state import Stack as State
from tests.e2e.airflow_stack import Stack, gone, lingering, needs_airflow, until

pytestmark = [pytest.mark.e2e, needs_airflow]


def test_a_failed_step_shows_why_and_clearing_it_goes_on(stack: Stack, tmp_path: Path) -> None:
    run_id, steps = stack.run("trouble", folder=str(tmp_path), times=1)
    assert {step: a.state for step, a in steps.items()} == {
        "twice": "succeeded",
        "stumble": "failed",
        "twice-2": "upstream_failed",
    }
    assert stack.client.state("trouble", run_id) == "failed"
    log = stack.log("trouble", run_id, "stumble")
    report = log[log.index("step 'stumble' failed: ValueError: stumbled over column 'cpu' (0)") :]
    assert f"at      {stack.settings.project / 'work.py'}:" in report
    assert f"resume  fleetml resume {run_id}" in report
    shown = stack.client.tasks("trouble", run_id)
    assert (shown["stumble"]["state"], shown["twice-2"]["state"]) == ("failed", "upstream_failed")

    stack.clear("trouble", run_id, only_failed=True)
    until(lambda: stack.client.state("trouble", run_id) == "success")
    until(lambda: stack.records(run_id).read()["state"] == "succeeded")
    after = stack.records(run_id)
    assert {step: a.state for step, a in after.latest().items()} == dict.fromkeys(steps, "succeeded")
    assert len(after.attempts("twice")) == 1  # what was finished is not repeated


def test_a_step_is_tried_again_as_its_pipeline_says(stack: Stack, tmp_path: Path) -> None:
    run_id, steps = stack.run("patient", folder=str(tmp_path), times=2)
    assert (steps["stumble"].state, steps["stumble"].number) == ("succeeded", 3)
    assert stack.client.tasks("patient", run_id)["stumble"]["try_number"] == 3
    assert [a.state for a in stack.records(run_id).attempts("stumble")] == ["failed", "failed", "succeeded"]


def test_a_user_s_mistake_is_not_tried_again(stack: Stack) -> None:
    run_id, steps = stack.run("refusing")
    assert (steps["refuse"].state, steps["refuse"].number) == ("failed", 1)
    assert "step 'refuse' failed: n must be even, got 1; give another" in stack.log("refusing", run_id, "refuse")


def test_a_failure_that_a_later_step_outlives_fails_the_run(stack: Stack) -> None:
    run_id, steps = stack.run("outlived")
    assert {step: a.state for step, a in steps.items()} == {"refuse": "failed", "twice": "succeeded"}
    assert stack.client.state("outlived", run_id) == "failed"
    assert "run outlived__" in stack.log("outlived", run_id, "record")


def test_the_record_waits_for_steps_beside_one_that_failed(stack: Stack) -> None:
    run_id, steps = stack.run("early")
    assert {step: a.state for step, a in steps.items()} == {
        "refuse": "failed",
        "twice": "succeeded",
        "twice-2": "succeeded",
        "twice-3": "succeeded",
        "twice-4": "upstream_failed",
    }
    assert stack.client.state("early", run_id) == "failed"
    assert stack.records(run_id).read()["state"] == "failed"


def test_the_log_is_there_while_the_step_runs_and_marking_it_failed_kills_it(stack: Stack, tmp_path: Path) -> None:
    run_id, step = lingering(stack, tmp_path)
    until(lambda: "lingering" in stack.log("lingering", run_id, "linger"))
    assert not gone(step)
    stack.set_task("lingering", run_id, "linger", "failed")
    until(lambda: gone(step))
    tasks = stack.wait("lingering", run_id)
    assert (tasks["linger"], tasks["twice"]) == ("failed", "upstream_failed")
    record = stack.records(run_id)
    until(lambda: record.read()["state"] == "failed")
    assert record.latest()["linger"].state in ("cancelled", "failed")


def test_clearing_a_running_step_kills_it_and_starts_it_anew(stack: Stack, tmp_path: Path) -> None:
    run_id, first = lingering(stack, tmp_path)
    (tmp_path / "pids").unlink()
    stack.clear("lingering", run_id, task_ids=["linger"], only_failed=False, only_running=True)
    until(lambda: gone(first))
    second = [psutil.Process(int(pid)) for pid in until(lambda: (tmp_path / "pids").read_text().split())]
    assert not gone(second)
    stack.client.fail("lingering", run_id)
    until(lambda: gone(second))
    until(lambda: stack.records(run_id).read()["state"] == "cancelled")
    until(lambda: stack.client.state("lingering", run_id) == "failed")


def test_one_iteration_is_cleared_alone_and_what_was_done_in_it_is_not_repeated(stack: Stack, tmp_path: Path) -> None:
    run_id, steps = stack.run("spread", folder=str(tmp_path))
    assert {step for step, attempt in steps.items() if attempt.state != "succeeded"} == {"for-loop-1/1/stumble-at"}
    shown = stack.client.tasks("spread", run_id)
    states = {task: shown[task]["state"] for task in shown if task.startswith("for-loop-1.")}
    assert states == {
        "for-loop-1.items": "success",
        "for-loop-1.iteration[0]": "success",
        "for-loop-1.iteration[1]": "failed",
        "for-loop-1.iteration[2]": "success",
        "for-loop-1.outcome": "failed",
    }
    assert shown["for-loop-1.iteration[1]"]["rendered_map_index"] == "1"
    stack.clear("spread", run_id, task_ids=[["for-loop-1.iteration", 1]], only_failed=False)
    until(lambda: stack.client.state("spread", run_id) == "success")
    until(lambda: stack.records(run_id).read()["state"] == "succeeded")
    assert {a.state for a in stack.records(run_id).latest().values()} == {"succeeded"}
    assert sorted((tmp_path / "visits").read_text().split()) == ["0", "1", "2"]

    stack.clear("spread", run_id, task_ids=[["for-loop-1.iteration", 2]], only_failed=False)  # it went well: anew
    until(lambda: len((tmp_path / "visits").read_text().split()) == 4)
    until(lambda: stack.client.state("spread", run_id) == "success")


def test_stop_ends_a_run_with_its_steps(stack: Stack, tmp_path: Path) -> None:
    run_id, step = lingering(stack, tmp_path)
    ours = State(stack.settings.home, {"airflow": stack.service})
    assert runs.stop(stack.records(run_id), ours) == "cancelled"
    assert gone(step)
    assert stack.client.state("lingering", run_id) == "failed"
    assert ("lingering", run_id) not in stack.client.active()
    with pytest.raises(Unavailable, match="no Airflow of this stack runs it"):
        runs.stop(stack.records(run_id), None)


def test_ending_a_run_ends_the_run_that_its_step_started_and_waits_for(stack: Stack, tmp_path: Path) -> None:
    run_id = stack.client.trigger("starts", {"pipeline": "lingering", "given": {"folder": str(tmp_path)}})
    pids = [psutil.Process(int(pid)) for pid in until(lambda: (tmp_path / "pids").read_text().split())]
    child = stack.records(run_id).latest()["start"].reason.split()[1]
    until(lambda: stack.client.tasks("starts", run_id)["start"]["state"] == "up_for_reschedule")  # it holds no slot
    stack.client.fail("starts", run_id)
    until(lambda: gone(pids))
    until(lambda: stack.client.state("lingering", child) == "failed")
    assert stack.client.state("starts", run_id) == "failed"
