"""What steps ask of a cluster, where there is none: honoured, or refused by name before anything runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fleetml.engines import local
from fleetml.errors import ConfigurationError, UnsupportedConstruct
from fleetml.pipeline import document, load, plan_of
from fleetml.records import Run
from fleetml.settings import Settings
from tests.small_pipelines import Pipeline

TWO = "def a(): return {'out': 1}\ndef b(): return {'out': 2}\n"
SLOW = "import time\ndef a():\n    time.sleep(600)\n"


def asking(path: Path, **settings: Any) -> Path:
    """Let the executor of task a ask for these."""
    spec = json.loads(path.read_text())
    spec["platforms"] = {"kubernetes": {"deploymentSpec": {"executors": {"exec-a": settings}}}}
    path.write_text("\n---\n".join(map(json.dumps, document.split(spec))))
    return path


def go(path: Path, project: Settings) -> str:
    plan = load(path)
    return local.run(local.Job(plan, path, plan.bind({}), "r"), project)


def test_a_feature_that_the_runner_does_not_honour_is_refused_before_the_first_step(
    pipeline: Pipeline, project: Settings
) -> None:
    path = asking(pipeline("def a(): return {'out': 1}\n", {"a": []}), nodeSelector={"labels": {"disk": "ssd"}})
    with pytest.raises(
        UnsupportedConstruct, match=r"executors\.exec-a\.nodeSelector.*'subprocess'.*--runner kubernetes"
    ):
        go(path, project)
    assert not Run(project.home, "r").exists()


def test_a_claim_to_make_is_such_a_feature(pipeline: Pipeline, project: Settings) -> None:
    path = pipeline("def a(): return {'out': 1}\n", {"a": []})
    spec = json.loads(path.read_text())
    spec["deploymentSpec"]["executors"]["exec-a"] = {"container": {"image": "argostub/createpvc"}}
    path.write_text(json.dumps(spec))
    with pytest.raises(UnsupportedConstruct, match=r"exec-a: createPvc .kfp-kubernetes. is not honoured"):
        go(path, project)


def test_a_feature_inside_a_loop_that_only_the_run_unfolds_is_refused_as_early(project: Settings) -> None:
    path = Path(__file__).parents[2] / "pipelines" / "loop.yaml"
    spec = document.read(path)
    late = spec["components"]["comp-for-loop-5"]["dag"]["tasks"]["echo-3"]
    executors = spec["deploymentSpec"]["executors"]
    spec["components"]["comp-late"] = {**spec["components"][late["componentRef"]["name"]], "executorLabel": "exec-late"}
    executors["exec-late"] = executors["exec-echo"]
    late["componentRef"]["name"] = "comp-late"
    asked = {"exec-late": {"podMetadata": {"labels": {"a": "b"}}}}
    spec["platforms"] = {"kubernetes": {"deploymentSpec": {"executors": asked}}}
    plan = plan_of(spec)
    assert not [step for step in plan.steps.values() if step.platform]
    with pytest.raises(UnsupportedConstruct, match="podMetadata"):
        local.run(local.Job(plan, path, plan.bind({}), "r"), project)


def test_a_deadline_ends_the_step(pipeline: Pipeline, project: Settings) -> None:
    path = asking(pipeline(SLOW, {"a": []}), activeDeadlineSeconds="1")
    assert go(path, project) == "failed"
    latest = Run(project.home, "r").latest()["a"]
    assert "over its time limit" in latest.failure["message"]  # type: ignore[index]


def test_the_run_keeps_both_documents(pipeline: Pipeline, project: Settings) -> None:
    path = asking(pipeline("def a(): return {'out': 1}\n", {"a": []}), activeDeadlineSeconds=60)
    assert go(path, project) == "succeeded"
    kept = Run(project.home, "r").pipeline
    assert document.read(kept) == document.read(path)
    assert load(kept).digest == load(path).digest


def secret(name: str, key: str) -> list[dict[str, Any]]:
    return [{"secretName": name, "keyToEnv": [{"secretKey": key, "envVar": "PASSWORD"}]}]


def test_a_secret_that_is_not_there_is_told_before_the_first_step(pipeline: Pipeline, project: Settings) -> None:
    path = asking(pipeline("def a(): return {'out': 1}\n", {"a": []}), secretAsEnv=secret("db", "pass"))
    with pytest.raises(
        ConfigurationError, match=r"step 'a' needs key 'pass' of the secret 'db'.*FLEETML_SECRET_DB_PASS"
    ):
        go(path, project)
    assert not Run(project.home, "r").folder.exists()


def test_two_secrets_of_one_variable_are_refused_before_the_first_step(
    pipeline: Pipeline, project: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLEETML_SECRET_A_B_C", "value")
    path = asking(pipeline(TWO, {"a": [], "b": []}), secretAsEnv=secret("a", "b_c"))
    first, second = document.split(document.read(path))
    second["platforms"]["kubernetes"]["deploymentSpec"]["executors"]["exec-b"] = {"secretAsEnv": secret("a-b", "c")}
    path.write_text("\n---\n".join(map(json.dumps, (first, second))))
    with pytest.raises(ConfigurationError, match="FLEETML_SECRET_A_B_C would be"):
        go(path, project)
    assert not Run(project.home, "r").folder.exists()
