"""A real Airflow, started once, runs real steps: everything here is asked over its REST API, as a user would."""

from __future__ import annotations

import contextlib
import json
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psutil
import pytest

from fleetml.compiler import compile_pipeline
from fleetml.engines import local
from fleetml.errors import FleetMLError, InvalidParameter, Unavailable
from fleetml.pipeline import Plan, load
from fleetml.pipeline.model import Loop
from fleetml.records import Attempt, Run
from fleetml.report import page
from fleetml.settings import Settings
from fleetml.stack import airflow, ports, processes, runs
from fleetml.stack.airflow_client import AirflowClient
from fleetml.stack.processes import Service
from fleetml.stack.state import Stack as State
from tests.conformance.cases import CASES, PIPELINES, Case

REPOSITORY = Path(__file__).parents[2]
HERE = Path(__file__).parent / "airflow_pipelines"
ORCHESTRATOR = REPOSITORY / ".venv" / "orchestrator"
TABLE = """[images."fleetml/ml"]
venv = "{ml}"
locks = ["lock.txt"]

[images."fleetml/orchestrator"]
venv = "{orchestrator}"
locks = ["lock.txt"]

[aliases]
"python:3.1?*" = "fleetml/ml"
"""
DRIFT = "fleetml://drift/cpu"
TOKEN, PASSWORD = "t0k'en \\ of the vault", "p4ss/w\u00f6rd%of the vault"  # from the environment, from a Connection
TRIGGERS = {
    "watch": f"emits: [{{step: condition-1/event, output: event, asset: '{DRIFT}'}}]\n",
    "react": f"assets: [{{uri: '{DRIFT}', parameters: {{drift: features}}}}]\n"
    "schedule: '0 3 * * *'\ndata_interval_end: end\ndefaults: {drift: {}}\n",
}

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(not (ORCHESTRATOR / "bin/airflow").exists(), reason="no .venv/orchestrator: make setup"),
]


@dataclass
class Stack:
    """The running Airflow of a project whose path holds a space."""

    settings: Settings
    service: Service
    client: AirflowClient

    def path(self, pipeline: str) -> Path:
        return self.settings.project / "dags" / pipeline / "pipeline.yaml"

    def records(self, run_id: str) -> Run:
        return Run(self.settings.home, run_id)

    def run(self, pipeline: str, /, **conf: Any) -> tuple[str, dict[str, Attempt]]:
        """Run a pipeline to its end; return the id of the run and the last attempt of each step."""
        run_id = self.client.trigger(pipeline, conf)
        self.wait(pipeline, run_id)
        return run_id, self.records(run_id).latest()

    def wait(self, pipeline: str, run_id: str) -> dict[str, str]:
        """Return the states of the tasks once the run is over."""
        for _ in self.client.follow(pipeline, run_id, self.service.alive):
            pass
        return {task: str(found["state"]) for task, found in self.client.tasks(pipeline, run_id).items()}

    def log(self, pipeline: str, run_id: str, task: str, attempt: int = 1) -> str:
        return "\n".join(self.client.log(pipeline, run_id, task, attempt))

    def set_task(self, pipeline: str, run_id: str, task: str, state: str) -> None:
        self.client.call("PATCH", f"dags/{pipeline}/dagRuns/{run_id}/taskInstances/{task}", {"new_state": state})

    def clear(self, pipeline: str, run_id: str, **which: Any) -> None:
        body = {"dag_run_id": run_id, "dry_run": False, "include_downstream": True, **which}
        self.client.call("POST", f"dags/{pipeline}/clearTaskInstances", body)


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Return a project that holds the pipelines of the conformance cases and of `airflow_pipelines`."""
    root = tmp_path_factory.mktemp("e2e") / "a project"
    (root / "images").mkdir(parents=True)
    (root / "lock.txt").write_text("nothing==1\n")
    (root / "images/images.toml").write_text(TABLE.format(ml=sys.prefix, orchestrator=ORCHESTRATOR))
    shutil.copy(HERE / "work.py", root)
    dags = root / "dags"
    for name in sorted({case.pipeline for case in CASES} | {"starts", "published"}):
        (dags / name).mkdir(parents=True)
        shutil.copy(PIPELINES / f"{name}.yaml", dags / name / "pipeline.yaml")
    for source in sorted(set(HERE.glob("*.py")) - {HERE / "parts.py", HERE / "work.py"}):
        compile_pipeline(source, dags / source.stem / "pipeline.yaml")
    for source in HERE.glob("*.yaml"):
        (dags / source.stem).mkdir()
        shutil.copy(source, dags / source.stem / "pipeline.yaml")
    for name, text in TRIGGERS.items():
        (dags / name / "triggers.yaml").write_text(text)
    for file in ("fleetml_dags.py", ".airflowignore"):
        shutil.copy(REPOSITORY / "dags" / file, dags)
    shutil.copy(HERE.with_name("airflow_dags") / "team.py", dags)
    return Settings.from_environment({"FLEETML_PROJECT": str(root)})


def started(settings: Settings) -> Stack:
    service = airflow.start(settings, ports.free())
    try:
        assert processes.wait_until(lambda: airflow.ready(service), 120), Path(service.log).read_text()[-3000:]
    except BaseException:
        airflow.stop(service)
        raise
    client = AirflowClient(service.address, service.details["login"], airflow.password(service))
    return Stack(settings, service, client)


@pytest.fixture(scope="module")
def stack(settings: Settings) -> Iterator[Stack]:
    with pytest.MonkeyPatch.context() as environ:
        environ.setenv("FLEETML_SECRET_VAULT_TOKEN", TOKEN)
        made = started(settings)
    try:
        for folder in sorted((settings.project / "dags").iterdir()):
            if folder.is_dir() and folder.name != "__pycache__":
                made.client.wait_for_dag(folder.name)
        yield made
    finally:
        airflow.stop(made.service)
        left = processes.marked(settings.home)
        processes.sweep(settings.home)
    assert left == []


def until(condition: Callable[[], Any], seconds: float = 60) -> Any:
    """Return what `condition` finds, asked until it finds something; a file or an answer not there yet is nothing."""
    found: Any = None

    def look() -> bool:
        nonlocal found
        with contextlib.suppress(OSError, FleetMLError, IndexError):
            found = condition()
        return bool(found)

    assert processes.wait_until(look, seconds), f"nothing after {seconds} s"
    return found


@pytest.fixture(scope="module")
def conformance(stack: Stack) -> Mapping[str, str]:
    """Start every case at once; return the run of each."""
    return {case.name: stack.client.trigger(case.pipeline, dict(case.parameters)) for case in CASES}


def tasks_of(case: Case, plan: Plan) -> dict[str, str]:
    """The states that the tasks of a case must have: of a loop known only in the run its items, iterations, outcome."""
    found: dict[str, str] = {}
    for name, step in plan.steps.items():
        if not isinstance(step, Loop):
            found[name] = case.steps[name]
            continue
        iterations: dict[str, str] = {}
        for inside, state in case.steps.items():
            if inside.startswith(f"{name}/"):
                index = f"{name}/iteration[{inside.removeprefix(f'{name}/').split('/')[0]}]"
                bad = "failed" in (state, iterations.get(index)) or state == "upstream_failed"
                iterations[index] = "failed" if bad else "succeeded"
        found[f"{name}/items"] = "succeeded"
        found |= iterations or {f"{name}/iteration[0]": "succeeded"}  # of an empty list: nothing to do
        found[f"{name}/outcome"] = "failed" if "failed" in iterations.values() else "succeeded"
    return found


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_conformance(case: Case, stack: Stack, conformance: Mapping[str, str]) -> None:
    run_id = conformance[case.name]
    tasks = stack.wait(case.pipeline, run_id)
    latest = stack.records(run_id).latest()
    assert {step: attempt.state for step, attempt in latest.items()} == case.steps
    shown = {task.replace(".", "/"): state.replace("success", "succeeded") for task, state in tasks.items()}
    plan = load(case.path, fold=True)
    assert shown.pop("parameters") == "succeeded"
    assert shown.pop("record") == case.state
    assert shown == tasks_of(case, plan)
    for place, value in case.outputs.items():
        step, _, output = place.rpartition(".")
        assert (latest[step].outcome or {})["parameters"][output] == value
    assert stack.records(run_id).read()["state"] == case.state
    assert stack.client.state(case.pipeline, run_id).replace("success", "succeeded") == case.state


def test_no_import_errors(stack: Stack) -> None:
    assert stack.client.import_errors() == []


def test_the_form_is_typed_and_the_server_refuses_what_does_not_fit(stack: Stack) -> None:
    shown = stack.client.call("GET", "dags/double/details")["params"]
    assert {name: param["schema"]["type"] for name, param in shown.items()} == {
        "needed": "integer",
        "word": ["string", "null"],
        "ratio": ["number", "null"],
        "flag": ["boolean", "null"],
        "items": ["array", "null"],
        "table": ["object", "null"],
    }
    assert shown["needed"]["description"] == "What is doubled."
    assert (shown["items"]["value"], shown["ratio"]["value"]) == ([1], 0.5)
    for conf in ({"needed": "three"}, {"needed": 1, "flag": "yes"}, {"needed": 1, "items": {}}, {}):
        with pytest.raises(InvalidParameter, match="Invalid input for param"):
            stack.client.trigger("double", conf)


def test_an_unknown_parameter_ends_the_run_before_the_first_step(stack: Stack) -> None:
    run_id = stack.client.trigger("double", {"needed": 1, "neded": 2})
    tasks = stack.wait("double", run_id)
    assert (tasks["parameters"], tasks["twice"], tasks["record"]) == ("failed", "upstream_failed", "failed")
    assert "did you mean 'needed'?" in stack.log("double", run_id, "parameters")
    assert not stack.records(run_id).exists()


def test_a_run_shows_its_steps_parameters_and_figures(stack: Stack) -> None:
    run_id, steps = stack.run("double", needed=21)
    assert {step: (a.outcome or {})["parameters"] for step, a in steps.items()} == {
        "twice": {"result": 42},
        "inside/twice": {"result": 84},
    }
    log = stack.log("double", run_id, "twice")
    assert "doubling 21" in log
    assert "done in " in log
    assert log.index("doubling 21") < log.index(": doubled 42, half 10.5, name two")
    assert "not shown" not in log
    assert "needed = 21" in stack.log("double", run_id, "parameters")
    record = stack.records(run_id).read()
    assert (record["engine"], record["state"], record["pipeline"]) == ("airflow", "succeeded", "double")
    assert record["parameters"]["needed"] == 21


def test_what_airflow_computed_is_a_hit_here_and_the_other_way_round(stack: Stack) -> None:
    stack.run("double", needed=5)
    plan = load(stack.path("double"))

    def here(number: int, run_id: str) -> list[bool]:
        job = local.Job(plan, stack.path("double"), plan.bind({"needed": number}), run_id)
        assert local.run(job, stack.settings) == "succeeded"
        return [attempt.cached for attempt in stack.records(run_id).latest().values()]

    assert here(5, "local-5") == [True, True]
    assert here(6, "local-6") == [False, False]
    run_id, steps = stack.run("double", needed=6)
    assert [attempt.cached for attempt in steps.values()] == [True, True]
    assert "reused in " in stack.log("double", run_id, "inside.twice")


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


def lingering(stack: Stack, folder: Path) -> tuple[str, list[psutil.Process]]:
    """Start a run whose step stays; return its id and the step's two processes."""
    run_id = stack.client.trigger("lingering", {"folder": str(folder)})
    pids = until(lambda: (folder / "pids").read_text().split())
    return run_id, [psutil.Process(int(pid)) for pid in pids]


def gone(found: list[psutil.Process]) -> bool:
    return not any(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in found)


def test_the_log_is_there_while_the_step_runs_and_marking_it_failed_kills_it(stack: Stack, tmp_path: Path) -> None:
    run_id, step = lingering(stack, tmp_path)
    until(lambda: "lingering" in stack.log("lingering", run_id, "linger"), 10)
    assert not gone(step)
    stack.set_task("lingering", run_id, "linger", "failed")
    until(lambda: gone(step), 15)
    tasks = stack.wait("lingering", run_id)
    assert (tasks["linger"], tasks["twice"]) == ("failed", "upstream_failed")
    record = stack.records(run_id)
    until(lambda: record.read()["state"] == "failed", 15)
    assert record.latest()["linger"].state in ("cancelled", "failed")


def test_clearing_a_running_step_kills_it_and_starts_it_anew(stack: Stack, tmp_path: Path) -> None:
    run_id, first = lingering(stack, tmp_path)
    (tmp_path / "pids").unlink()
    stack.clear("lingering", run_id, task_ids=["linger"], only_failed=False, only_running=True)
    until(lambda: gone(first), 15)
    second = [psutil.Process(int(pid)) for pid in until(lambda: (tmp_path / "pids").read_text().split())]
    assert not gone(second)
    stack.client.fail("lingering", run_id)
    until(lambda: gone(second), 15)
    until(lambda: stack.records(run_id).read()["state"] == "cancelled", 30)
    until(lambda: stack.client.state("lingering", run_id) == "failed", 15)


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
    until(lambda: gone(pids), 15)
    until(lambda: stack.client.tasks("team", run_id)["stays.record"]["state"] == "failed")
    until(lambda: stays.read()["state"] == "cancelled", 30)
    until(lambda: stack.client.state("team", run_id) == "failed", 15)
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


def test_stop_ends_a_run_with_its_steps(stack: Stack, tmp_path: Path) -> None:
    run_id, step = lingering(stack, tmp_path)
    ours = State(stack.settings.home, {"airflow": stack.service})
    assert runs.stop(stack.records(run_id), ours) == "cancelled"
    assert gone(step)
    assert stack.client.state("lingering", run_id) == "failed"
    assert ("lingering", run_id) not in stack.client.active()
    with pytest.raises(Unavailable, match="no Airflow of this stack runs it"):
        runs.stop(stack.records(run_id), None)


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


def test_ending_a_run_ends_the_run_that_its_step_started_and_waits_for(stack: Stack, tmp_path: Path) -> None:
    run_id = stack.client.trigger("starts", {"pipeline": "lingering", "given": {"folder": str(tmp_path)}})
    pids = [psutil.Process(int(pid)) for pid in until(lambda: (tmp_path / "pids").read_text().split())]
    child = stack.records(run_id).latest()["start"].reason.split()[1]
    until(lambda: stack.client.tasks("starts", run_id)["start"]["state"] == "up_for_reschedule")  # it holds no slot
    stack.client.fail("starts", run_id)
    until(lambda: gone(pids), 30)
    until(lambda: stack.client.state("lingering", child) == "failed")
    assert stack.client.state("starts", run_id) == "failed"


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


def test_a_broken_pipeline_is_an_import_error_and_the_others_run_on(stack: Stack) -> None:
    broken = stack.settings.project / "dags" / "broken"
    broken.mkdir()
    (broken / "pipeline.yaml").write_text("schemaVersion: 2.1.0\npipelineInfo: {name: broken}\n")
    try:
        said = until(lambda: stack.client.import_errors())
        assert len(said) == 1
        assert f"{broken}/pipeline.yaml: " in said[0]
        _, steps = stack.run("double", needed=3)
        assert steps["twice"].state == "succeeded"
        assert not stack.client.call("GET", "dags/double")["has_import_errors"]
    finally:
        shutil.rmtree(broken)
    until(lambda: not stack.client.import_errors(), 100)


def test_stopping_leaves_no_process_and_the_next_start_is_clean(stack: Stack, tmp_path: Path) -> None:
    run_id, step = lingering(stack, tmp_path)
    airflow.stop(stack.service)
    assert gone(step)
    assert processes.marked(stack.settings.home) == []
    again = started(stack.settings)
    stack.service, stack.client = again.service, again.client
    assert stack.client.state("lingering", run_id) == "failed"
    assert stack.records(run_id).read()["state"] == "cancelled"
    _, steps = stack.run("double", needed=9)
    assert steps["twice"].state == "succeeded"
