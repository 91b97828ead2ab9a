"""The local engine: what runs when, how often, and what a run's record says of it."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fleetml.engines import local
from fleetml.errors import ConfigurationError, InvalidParameter
from fleetml.pipeline import load
from fleetml.records import Attempt, Run
from fleetml.runners import accelerators
from fleetml.settings import Settings
from tests.small_pipelines import Pipeline

PIPELINES = Path(__file__).parents[2] / "pipelines"
CHAIN = "def a(): return {'out': 1}\ndef b(a): return {'out': a + 1}\ndef c(b): return {'out': b + 1}\n"


def go(path: Path, project: Settings, run_id: str = "r", **known: Any) -> str:
    plan = load(path)
    tell, cancel = known.pop("tell", lambda *told: None), known.pop("cancel", None)
    return local.run(local.Job(plan, path, plan.bind({}), run_id, **known), project, tell, cancel)


def states(project: Settings, run_id: str = "r") -> dict[str, str]:
    return {step: attempt.state for step, attempt in Run(project.home, run_id).latest().items()}


def test_gpus_that_are_not_here_are_told_before_anything_runs(
    pipeline: Pipeline, project: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(accelerators, "DEVICES", tmp_path / "none")
    path = pipeline(CHAIN, {"a": [], "b": ["a"]})
    document = json.loads(path.read_text())
    document["deploymentSpec"]["executors"]["exec-b"]["container"]["resources"] = {
        "accelerator": {"resourceCount": "1"}
    }
    path.write_text(json.dumps(document))
    with pytest.raises(ConfigurationError, match="step 'b' asks for 1 GPU"):
        go(path, project)
    assert not Run(project.home, "r").exists()


def test_values_go_along_a_chain(pipeline: Pipeline, project: Settings) -> None:
    path = pipeline(CHAIN, {"a": [], "b": ["a"], "c": ["b"]})
    assert go(path, project) == "succeeded"
    latest = Run(project.home, "r").latest()
    assert latest["c"].outcome["parameters"] == {"out": 3}  # type: ignore[index]
    assert latest["c"].inputs["parameters"] == {"b": 2}  # type: ignore[index]
    document = Run(project.home, "r").read()
    assert (document["state"], document["engine"], document["steps"]) == ("succeeded", "local", ["a", "b", "c"])
    assert document["cost"]["cpu_seconds"] > 0


def test_code_that_changes_within_a_second_is_the_code_that_runs(
    pipeline: Pipeline, project: Settings, stage: Callable[[str], str]
) -> None:
    path = pipeline("def a(): return {'out': 1}\n", {"a": []})
    source = project.project / "components/stage/work.py"
    os.utime(source, (1e9, 1e9))
    assert go(path, project, "before") == "succeeded"
    stage("def a(): return {'out': 2}\n")
    os.utime(source, (1e9, 1e9))
    assert go(path, project, "after") == "succeeded"
    assert Run(project.home, "after").latest()["a"].outcome["parameters"] == {"out": 2}  # type: ignore[index]


def test_independent_steps_run_at_once(pipeline: Pipeline, project: Settings, tmp_path: Path) -> None:
    """Each opens one end of a FIFO, which waits until the other is opened: one at a time would never end."""
    os.mkfifo(tmp_path / "fifo")
    code = (
        f"FIFO = {str(tmp_path / 'fifo')!r}\n"
        "def a():\n    with open(FIFO, 'w') as f: f.write('5')\n    return {'out': 1}\n"
        "def b():\n    with open(FIFO) as f: return {'out': int(f.read())}\n"
    )
    assert go(pipeline(code, {"a": [], "b": []}), project, workers=2) == "succeeded"
    assert Run(project.home, "r").latest()["b"].outcome["parameters"] == {"out": 5}  # type: ignore[index]


def test_no_more_than_so_many_workers(pipeline: Pipeline, project: Settings) -> None:
    names = "abcdef"
    code = "\n".join(f"def {name}(): return {{'out': 1}}" for name in names)
    going: set[str] = set()
    most = 0

    def tell(step: str, state: str, attempt: Attempt | None) -> None:
        nonlocal most
        going.add(step) if state == "running" else going.discard(step)
        most = max(most, len(going))

    assert go(pipeline(code, {name: [] for name in names}), project, tell=tell, workers=2) == "succeeded"
    assert most == 2


def test_a_failure_stops_what_follows_and_nothing_else(pipeline: Pipeline, project: Settings) -> None:
    code = CHAIN.replace("def b(a): ", "def b(a): raise ValueError('bad');") + "def d(): return {'out': 1}\n"
    assert go(pipeline(code, {"a": [], "b": ["a"], "c": ["b"], "d": []}), project) == "failed"
    assert states(project) == {"a": "succeeded", "b": "failed", "c": "upstream_failed", "d": "succeeded"}
    failure = Run(project.home, "r").latest()["b"].failure
    assert failure is not None
    assert (failure["type"], failure["message"], failure["line"]) == ("ValueError", "bad", 2)


def attempts(count: int, error: str, tmp_path: Path) -> str:
    return (
        "import pathlib\nfrom fleetml.errors import InvalidData, Unavailable\n"
        f"COUNT = pathlib.Path({str(tmp_path / 'count')!r})\n"
        "def a():\n"
        "    n = int(COUNT.read_text()) + 1 if COUNT.exists() else 1\n"
        "    COUNT.write_text(str(n))\n"
        f"    if n < {count}: raise {error}('not yet')\n"
        "    return {'out': n}\n"
    )


@pytest.mark.parametrize(
    ("error", "tries", "state"),
    [("ValueError", 3, "succeeded"), ("Unavailable", 3, "succeeded"), ("InvalidData", 1, "failed")],
)
def test_a_step_is_tried_again_unless_it_is_the_user_s_mistake(
    pipeline: Pipeline, project: Settings, tmp_path: Path, error: str, tries: int, state: str
) -> None:
    retry = {"retryPolicy": {"maxRetryCount": 2, "backoffDuration": "0s", "backoffFactor": 2.0}}
    assert go(pipeline(attempts(3, error, tmp_path), {"a": []}, **retry), project) == state
    assert len(Run(project.home, "r").attempts("a")) == tries


def test_retries_end(pipeline: Pipeline, project: Settings, tmp_path: Path) -> None:
    retry = {"retryPolicy": {"maxRetryCount": 1, "backoffDuration": "0s"}}
    assert go(pipeline(attempts(9, "ValueError", tmp_path), {"a": []}, **retry), project) == "failed"
    assert [attempt.state for attempt in Run(project.home, "r").attempts("a")] == ["failed", "failed"]


def test_retries_of_the_pipeline_are_those_of_steps_that_state_none(
    pipeline: Pipeline, project: Settings, tmp_path: Path
) -> None:
    assert go(pipeline(attempts(3, "ValueError", tmp_path), {"a": []}), project, retries=2) == "succeeded"
    assert len(Run(project.home, "r").attempts("a")) == 3


def test_a_store_that_is_none_is_told_before_the_first_step(pipeline: Pipeline, project: Settings) -> None:
    path = pipeline(CHAIN, {"a": [], "b": ["a"], "c": ["b"]})
    assert go(path, project, "before") == "succeeded"  # all of it can be reused: no step would ask the store
    with pytest.raises(ConfigurationError, match="the artifact store foo://bucket/x must be a URL that fsspec opens"):
        go(path, replace(project, store="foo://bucket/x"))
    assert not Run(project.home, "r").exists()


def test_an_image_that_is_not_here_is_told_before_the_first_step(pipeline: Pipeline, project: Settings) -> None:
    path = pipeline(CHAIN, {"a": [], "b": ["a"], "c": ["b"]})
    document = json.loads(path.read_text())
    document["deploymentSpec"]["executors"]["exec-c"]["container"]["image"] = "nobody/has:it"
    path.write_text(json.dumps(document))
    with pytest.raises(ConfigurationError, match=r"step 'c': image 'nobody/has:it' has no environment"):
        go(path, project)
    assert not Run(project.home, "r").exists()
    document["root"]["dag"]["tasks"]["c"]["triggerPolicy"] = {"condition": "int(inputs.parameter_values['b']) == 7"}
    path.write_text(json.dumps(document))
    assert go(path, project) == "succeeded"  # it never came to that
    assert states(project)["c"] == "skipped"


def test_a_second_run_of_one_id_is_refused_and_the_first_s_record_stays(pipeline: Pipeline, project: Settings) -> None:
    path = pipeline(CHAIN, {"a": [], "b": ["a"], "c": ["b"]})
    assert go(path, project) == "succeeded"
    before = Run(project.home, "r").read()
    with pytest.raises(InvalidParameter, match="used once, 'r' exists"):
        go(path, project)
    assert Run(project.home, "r").read() == before


def test_a_cancel_during_the_wait_for_a_retry_ends_it(pipeline: Pipeline, project: Settings, tmp_path: Path) -> None:
    retry = {"retryPolicy": {"maxRetryCount": 5, "backoffDuration": "3000s"}}
    path = pipeline(attempts(9, "ValueError", tmp_path), {"a": []}, **retry)
    cancel = threading.Event()
    plan = load(path)
    done: list[str] = []
    job = local.Job(plan, path, {}, "r")
    engine = threading.Thread(target=lambda: done.append(local.run(job, project, cancel=cancel)))
    engine.start()
    records = Run(project.home, "r")
    while not any(attempt.state == "failed" for attempt in records.attempts("a")):
        engine.join(0.01)
    cancel.set()
    engine.join(30)
    assert done == ["failed"]
    assert len(records.attempts("a")) == 1


def test_a_cancelled_run_starts_nothing_more(pipeline: Pipeline, project: Settings) -> None:
    cancel = threading.Event()

    def tell(step: str, state: str, attempt: Attempt | None) -> None:
        if state == "succeeded":
            cancel.set()

    path = pipeline(CHAIN, {"a": [], "b": ["a"], "c": ["b"]})
    assert go(path, project, tell=tell, cancel=cancel) == "cancelled"
    assert states(project) == {"a": "succeeded"}
    assert Run(project.home, "r").read()["state"] == "cancelled"


def test_an_error_of_ours_leaves_a_true_record_and_no_process(pipeline: Pipeline, project: Settings) -> None:
    def tell(step: str, state: str, attempt: Attempt | None) -> None:
        if state == "running":
            raise RuntimeError("display broke")

    path = pipeline("import time\ndef a(): time.sleep(600)\n", {"a": []})
    with pytest.raises(RuntimeError, match="display broke"):
        go(path, project, tell=tell)
    assert Run(project.home, "r").read()["state"] == "failed"
    assert states(project) == {"a": "cancelled"}


def test_a_run_that_goes_on_is_not_run_twice(pipeline: Pipeline, project: Settings) -> None:
    path = pipeline(CHAIN, {"a": []})
    with Run(project.home, "r").held(), pytest.raises(ConfigurationError, match="another one runs r"):
        go(path, project)


def test_a_condition_that_only_the_run_shows_to_be_wrong_fails_its_step(
    pipeline: Pipeline, project: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`Plan.decide` raises for a condition over values that cannot be compared."""
    from fleetml.errors import InvalidPipeline
    from fleetml.pipeline import Plan

    decide = Plan.decide

    def picky(self: Plan, step: str, *known: Any) -> Any:
        if step == "b":
            raise InvalidPipeline("a condition compares a text with a number")
        return decide(self, step, *known)

    monkeypatch.setattr(Plan, "decide", picky)
    assert go(pipeline(CHAIN, {"a": [], "b": ["a"], "c": ["b"]}), project) == "failed"
    assert states(project) == {"a": "succeeded", "b": "failed", "c": "upstream_failed"}


def test_results_are_shared_by_runs_at_once(pipeline: Pipeline, project: Settings) -> None:
    path = pipeline(CHAIN, {"a": [], "b": ["a"], "c": ["b"]})
    done: list[str] = []
    threads = [threading.Thread(target=lambda name=f"r{n}": done.append(go(path, project, name))) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert done == ["succeeded"] * 4
    assert go(path, project, "last") == "succeeded"
    assert all(attempt.cached for attempt in Run(project.home, "last").latest().values())


def test_a_loop_keeps_its_limit_of_parallelism(project: Settings) -> None:
    path = PIPELINES / "loop.yaml"
    plan = load(path)
    going_on: set[str] = set()
    most = 0

    def tell(step: str, state: str, attempt: Attempt | None) -> None:
        nonlocal most
        if step.startswith("many/for-loop-1/"):
            (going_on.add if state == "running" else going_on.discard)(step.split("/")[2])
            most = max(most, len(going_on))

    job = local.Job(plan, path, plan.bind({"n": 1}), "r", workers=8)
    assert local.run(job, project, tell) == "succeeded"
    assert most == 1
