"""The bad input of tests/conformance in a real Airflow: the right state, one clear message, nothing else harmed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest

from fleetml.engines import local
from fleetml.errors import Unavailable
from fleetml.pipeline import load
from fleetml.stack import processes
from tests.conformance.bad_input import CHANGES, EXECUTOR, FAILING, OURS, REFUSED, changed, changing, together
from tests.e2e.airflow_stack import Stack, gone, needs_airflow, until

pytestmark = [pytest.mark.e2e, needs_airflow]


def written(stack: Stack, name: str, document: str) -> Path:
    path = stack.settings.project / "dags" / name / "pipeline.yaml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(document)
    return path


def named(document: str, name: str) -> str:
    return json.dumps({**json.loads(document), "pipelineInfo": {"name": name}})


@pytest.fixture(scope="module")
def refused(stack: Stack) -> Iterator[Mapping[str, Path]]:
    """Put every pipeline that is none among the others; give the file of each."""
    paths = {name: written(stack, f"refused{n}", document) for n, (name, (document, _)) in enumerate(REFUSED.items())}
    yield paths
    for path in paths.values():
        shutil.rmtree(path.parent)
    until(lambda: not stack.client.import_errors(), 300)


@pytest.mark.parametrize("name", REFUSED)
def test_a_pipeline_that_is_none_is_an_import_error(name: str, stack: Stack, refused: Mapping[str, Path]) -> None:
    said = until(lambda: [e for e in stack.client.import_errors() if f"{refused[name]}: " in e], 300)
    assert len(said) == 1
    assert said[0].count("Traceback") == 1  # Airflow's; no error of ours stands in it
    (message,) = [line for line in said[0].splitlines() if line.startswith(f"{refused[name]}: ")]
    assert REFUSED[name][1] in message
    assert len(message) < 700
    assert not any(word in message for word in OURS)


def test_the_error_stays_while_airflow_lists_the_folder_anew(stack: Stack, refused: Mapping[str, Path]) -> None:
    """Airflow forgets errors of files that it does not parse whenever it lists the folder (here: every 60 s)."""
    until(lambda: len(stack.client.import_errors()) == 1, 300)
    listed = Path(stack.service.log).read_text().count("Searching for files in dags-folder")

    def listed_again() -> bool:
        assert len(stack.client.import_errors()) == 1
        return Path(stack.service.log).read_text().count("Searching for files in dags-folder") > listed + 1

    assert processes.wait_until(listed_again, 300, 0.2)


def test_the_other_pipelines_of_the_folder_run_on(stack: Stack, refused: Mapping[str, Path]) -> None:
    _, steps = stack.run("double", needed=3)
    assert steps["twice"].state == "succeeded"
    assert not stack.client.call("GET", "dags/double")["has_import_errors"]


@pytest.fixture(scope="module")
def misbehaving(stack: Stack) -> tuple[str, dict[str, str], dict[str, str]]:
    """Run every step that must fail in one pipeline; give the run, its tasks' states, what each step is called."""
    document, called = together("misbehaving")
    written(stack, "misbehaving", json.dumps(document))
    stack.client.wait_for_dag("misbehaving", 300)
    run_id = stack.client.trigger("misbehaving", {})
    return run_id, stack.wait("misbehaving", run_id), called


@pytest.mark.parametrize("name", FAILING)
def test_a_step_that_misbehaves_has_failed(
    name: str, stack: Stack, misbehaving: tuple[str, dict[str, str], dict[str, str]]
) -> None:
    run_id, tasks, called = misbehaving
    step = called[name]
    assert tasks[step] == "failed"
    assert stack.records(run_id).latest()[step].state == "failed"
    log = stack.log("misbehaving", run_id, step)
    words = FAILING[name][1].replace("'bad'", f"'{step}'")
    assert words in log
    assert not any(word in log for word in OURS)


def test_the_step_beside_them_went_well(stack: Stack, misbehaving: tuple[str, dict[str, str], dict[str, str]]) -> None:
    run_id, tasks, _ = misbehaving
    assert tasks["good"] == "success"
    assert stack.client.state("misbehaving", run_id) == "failed"
    assert stack.records(run_id).read()["state"] == "failed"
    left = [place.name for place in (stack.settings.home / "results").iterdir()]
    assert not [name for name in left if name.startswith("bad-")]


@pytest.mark.parametrize(
    ("image", "words"),
    [
        ("no/such:1", "step 'bad': image 'no/such:1' has no environment on this machine"),
        ("fleetml/gone", "step 'bad': image 'fleetml/gone' runs in "),
    ],
    ids=["missing", "cannot start"],
)
def test_an_image_that_cannot_be_used_ends_the_run_before_its_first_step(image: str, words: str, stack: Stack) -> None:
    dag = image.replace("/", "_").replace(":", "_")
    written(stack, dag, named(changed(f"{EXECUTOR}/container/image", image), dag))
    stack.client.wait_for_dag(dag, 300)
    run_id = stack.client.trigger(dag, {})
    assert stack.wait(dag, run_id) == {
        "parameters": "failed",
        "bad": "upstream_failed",
        "good": "upstream_failed",
        "record": "failed",
    }
    assert words in stack.log(dag, run_id, "parameters")
    assert not stack.records(run_id).exists()


@pytest.mark.parametrize("name", ["writes", "removes"])
def test_a_step_that_writes_outside_its_outputs_has_failed(name: str, stack: Stack) -> None:
    dag = f"changing_{name}"
    written(stack, dag, named(json.dumps(changing(CHANGES[name])), dag))
    stack.client.wait_for_dag(dag, 300)
    run_id, steps = stack.run(dag)
    failures = {step: attempt.failure["message"] for step, attempt in steps.items() if attempt.failure}
    assert failures["bad"].startswith("artifacts can only be read, input artifact 'data' of step 'bad'")
    assert failures["late"].startswith("artifacts are what their steps left, input artifact 'data'")
    assert failures["bad"] in stack.log(dag, run_id, "bad")


def clinging(stack: Stack, folder: Path, stays: bool) -> tuple[str, list[psutil.Process]]:
    run_id = stack.client.trigger("clinging", {"folder": str(folder), "stays": stays})
    pids = until(
        lambda: [int(pid) for pid in (folder / "pids").read_text().split()][1:] and (folder / "pids").read_text()
    )
    found = []
    for pid in pids.split():
        try:
            found.append(psutil.Process(int(pid)))
        except psutil.NoSuchProcess:
            assert not stays
    return run_id, found


def test_children_that_a_step_leaves_end_with_it(stack: Stack, tmp_path: Path) -> None:
    run_id, left = clinging(stack, tmp_path, stays=False)
    assert stack.wait("clinging", run_id)["cling"] == "success"
    assert gone(left)


def test_a_step_that_hears_no_sigterm_is_ended_with_what_it_started(stack: Stack, tmp_path: Path) -> None:
    run_id, stays = clinging(stack, tmp_path, stays=True)
    assert not gone(stays)
    stack.set_task("clinging", run_id, "cling", "failed")
    until(lambda: gone(stays))
    assert stack.wait("clinging", run_id)["cling"] == "failed"
    until(lambda: stack.records(run_id).read()["state"] == "cancelled")


def test_a_corrupted_cache_entry_is_no_hit(stack: Stack) -> None:
    stack.run("double", needed=77)
    for entry in (stack.settings.home / "cache").glob("*.json"):
        entry.write_text('{"half": ')
    _, steps = stack.run("double", needed=77)
    assert {step: (a.state, a.cached) for step, a in steps.items()} == {
        "twice": ("succeeded", False),
        "inside/twice": ("succeeded", False),
    }


def test_a_run_id_is_used_once(stack: Stack) -> None:
    run_id, steps = stack.run("double", needed=8)
    body: dict[str, Any] = {"dag_run_id": run_id, "logical_date": None, "conf": {"needed": 9}}
    with pytest.raises(Unavailable, match="answered 409"):
        stack.client.call("POST", "dags/double/dagRuns", body)
    plan = load(stack.path("double"))
    job = local.Job(plan, stack.path("double"), plan.bind({"needed": 8}), "double__mine")
    assert local.run(job, stack.settings) == "succeeded"
    before = stack.records("double__mine").read()
    stack.client.call("POST", "dags/double/dagRuns", {**body, "dag_run_id": "double__mine"})
    tasks = stack.wait("double", "double__mine")
    assert (tasks["parameters"], tasks["twice"], tasks["record"]) == ("failed", "upstream_failed", "failed")
    said = "a run id is used once, 'double__mine' is that of another run (engine local)"
    assert said in stack.log("double", "double__mine", "parameters")
    assert stack.records("double__mine").read() == before
    assert stack.records(run_id).latest() == steps
