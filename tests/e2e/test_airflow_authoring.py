"""Groups, assets, schedules, secrets, pipelines that start others, in a real Airflow."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psutil
import pytest

from fleetml.report import page
from tests.e2e.airflow_stack import DRIFT, PASSWORD, TOKEN, Stack, gone, needs_airflow, until

pytestmark = [pytest.mark.e2e, needs_airflow]


def test_a_step_gets_its_secrets_and_nobody_else_does(stack: Stack) -> None:
    """One is in the environment of Airflow, the other in a Connection; only Airflow's own table of those holds it."""
    stack.client.call("POST", "connections", {"connection_id": "vault", "conn_type": "generic", "password": PASSWORD})
    run_id, steps = stack.run("confidential")
    assert {step: a.state for step, a in steps.items()} == {"tell": "succeeded", "spill": "failed"}
    assert (steps["tell"].outcome or {})["parameters"] == {"result": len(TOKEN)}
    assert "none may hold a secret; output parameter 'result'" in (steps["spill"].failure or {})["message"]
    logs = [stack.log("confidential", run_id, task) for task in ("tell", "spill", "record")]
    assert logs[0].count("***") >= 8
    instances = f"dags/confidential/dagRuns/{run_id}/taskInstances"
    xcoms = [
        stack.client.call("GET", f"{instances}/{task}/xcomEntries/{entry['key']}")
        for task in ("tell", "spill")
        for entry in stack.client.call("GET", f"{instances}/{task}/xcomEntries")["xcom_entries"]
    ]
    assert xcoms
    report = page.write(stack.records(run_id)).read_text()
    files = {path for path in stack.settings.home.rglob("*") if path.is_file()}
    found = [path.read_bytes().decode(errors="replace") for path in files if not path.name.startswith("airflow.db")]
    database = "".join(p.read_bytes().decode(errors="replace") for p in files if p.name.startswith("airflow.db"))
    for secret in (TOKEN, PASSWORD):
        forms = (secret, secret[7:], repr(secret)[1:-1], json.dumps(secret)[1:-1], quote(secret, safe=""))
        for text in (*logs, json.dumps(xcoms), report, *found):
            assert not [form for form in forms if form in text]
    assert TOKEN not in database


def test_groups_of_a_team_s_dag_hand_on_their_outputs_and_end_with_its_run(stack: Stack, tmp_path: Path) -> None:
    stack.client.wait_for_dag("team")
    run_id = stack.client.trigger("team", {"folder": str(tmp_path), "needed": 4})
    pids = [psutil.Process(int(pid)) for pid in until(lambda: (tmp_path / "pids").read_text().split())]
    own = run_id.removeprefix("team__")
    first, second, stays = (stack.records(f"team:{group}__{own}") for group in ("first", "second", "stays"))
    assert [(r.read()["state"], r.read()["parameters"]["needed"]) for r in (first, second)] == [
        ("succeeded", 4),
        ("succeeded", 5),
    ]
    until(lambda: stack.client.tasks("team", run_id)["use"]["state"] == "success")
    place = f"dags/team/dagRuns/{run_id}/taskInstances/use/xcomEntries/return_value"
    assert stack.client.call("GET", place)["value"] == 16
    stack.client.fail("team", run_id)
    until(lambda: gone(pids))
    until(lambda: stack.client.tasks("team", run_id)["stays.record"]["state"] == "failed")
    until(lambda: stays.read()["state"] == "cancelled")
    until(lambda: stack.client.state("team", run_id) == "failed")
    assert stack.client.tasks("team", run_id)["after"]["state"] == "skipped"


def test_a_dag_follows_a_pipeline_by_its_asset(stack: Stack, tmp_path: Path) -> None:
    stack.client.wait_for_dag("follower")
    run_id, _ = stack.run("patient", folder=str(tmp_path), times=0)
    runs = until(lambda: stack.client.call("GET", "dags/follower/dagRuns?run_type=asset_triggered")["dag_runs"])
    follower = runs[-1]["dag_run_id"]
    stack.wait("follower", follower)
    assert stack.records(f"follower__{follower}").read()["parameters"]["needed"] == 50
    events = stack.client.call("GET", f"assets/events?source_dag_id=patient&source_run_id={run_id}")["asset_events"]
    assert [event["source_task_id"] for event in events] == ["record"]


def test_a_pipeline_is_started_by_the_success_of_another_with_what_it_put_out(stack: Stack) -> None:
    stack.run("double", needed=11)

    def started() -> list[str]:
        runs = stack.client.call("GET", "dags/after/dagRuns?run_type=asset_triggered&limit=100")["dag_runs"]
        ids = [run["dag_run_id"] for run in runs]
        return [i for i in ids if stack.records(f"after__{i}").read()["parameters"] == {"number": 44}]

    run_id = until(started)[0]
    assert stack.wait("after", run_id)["twice"] == "success"
    assert "started by an event of fleetml://double" in stack.log("after", run_id, "parameters")


def test_a_pipeline_starts_another_and_has_its_outputs(stack: Stack) -> None:
    run_id, steps = stack.run("starts", given={"word": "hello"})
    given = (steps["start"].outcome or {})["parameters"]
    assert (given["state"], given["outputs"]["said"]) == ("succeeded", "hello")
    assert Path(given["outputs"]["data"]["uri"]).read_text() == "hello"
    assert stack.client.state("published", given["run_id"]) == "success"
    child = stack.records(given["run_id"]).read()
    assert (child["parent"]["run_id"], child["parent"]["step"]) == (run_id, "start")
    assert child["outputs"] == given["outputs"]
    assert len(stack.records(run_id).attempts("start")) == 1  # however often it looked

    run_id, steps = stack.run("starts", given={"word": "w", "n": 0})
    assert stack.client.state("starts", run_id) == "failed"
    assert (steps["start"].failure or {})["message"].endswith("of published failed")
    _, steps = stack.run("starts", given={"word": "w", "n": 3}, wait=False)
    assert (steps["start"].outcome or {})["parameters"]["state"] == "running"
    for pipeline, message in (("starts", "that would never end"), ("nowhere", "Airflow refuses its DAG 'nowhere'")):
        run_id, steps = stack.run("starts", pipeline=pipeline)
        assert steps["start"].state == "failed"
        assert message in stack.log("starts", run_id, "start")


def reactions(stack: Stack) -> list[dict[str, Any]]:
    runs = stack.client.call("GET", "dags/react/dagRuns?run_type=asset_triggered&limit=100")["dag_runs"]
    return sorted(runs, key=lambda run: run["run_after"])


def test_drift_starts_a_run_that_shows_what_drifted(stack: Stack) -> None:
    before = len(reactions(stack))
    _, steps = stack.run("watch", score=0.1)
    assert steps["condition-1/event"].state == "skipped"
    assert "false" in steps["condition-1/event"].reason

    _, steps = stack.run("watch", score=0.8)
    assert steps["condition-1/event"].state == "succeeded"
    until(lambda: len(reactions(stack)) == before + 1)
    run_id = reactions(stack)[-1]["dag_run_id"]
    stack.wait("react", run_id)
    assert "drift = {'cpu_usage': 0.8}" in stack.log("react", run_id, "parameters")
    assert stack.records(f"react__{run_id}").read()["parameters"]["drift"] == {"cpu_usage": 0.8}
    assert len(reactions(stack)) == before + 1  # the undrifted watch told nobody
    scheduled = stack.client.call("GET", "dags/react/dagRuns?run_type=scheduled")["dag_runs"]
    assert scheduled == []  # its schedule waits for its time


def test_an_event_from_outside_starts_one_too(stack: Stack) -> None:
    before = len(reactions(stack))
    stack.client.emit(DRIFT, {"features": {"memory_usage": 0.3}, "score": 0.3})
    until(lambda: len(reactions(stack)) == before + 1)
    run_id = reactions(stack)[-1]["dag_run_id"]
    stack.wait("react", run_id)
    assert stack.records(f"react__{run_id}").read()["parameters"]["drift"] == {"memory_usage": 0.3}


def test_a_scheduled_run_covers_the_window_that_ends_with_its_interval(stack: Stack) -> None:
    span = {"from_date": "2026-03-02T00:00:00Z", "to_date": "2026-03-02T23:00:00Z"}
    stack.client.call("POST", "backfills", {"dag_id": "react", "max_active_runs": 1, **span})
    runs = until(lambda: stack.client.call("GET", "dags/react/dagRuns?run_type=backfill")["dag_runs"])
    run_id = runs[0]["dag_run_id"]
    stack.wait("react", run_id)
    assert stack.records(f"react__{run_id}").read()["parameters"]["end"] == "2026-03-02T03:00:00Z"
