"""``fleetml run --runner`` and what a resumed run goes on with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from fleetml.records import Run
from fleetml.settings import Settings
from tests.small_pipelines import Pipeline

TYPES = Path(__file__).parents[1] / "pipelines" / "types.yaml"


def test_a_name_that_is_no_runner_starts_nothing(
    fleetml: Callable[..., int], capsys: pytest.CaptureFixture[str], project: Settings
) -> None:
    assert fleetml("run", TYPES, "--run-id", "x", "--runner", "rocket") == 2
    assert "got 'rocket'; correct --runner or FLEETML_RUNNER" in capsys.readouterr().err
    assert not Run(project.home, "x").exists()


def test_an_engine_that_is_not_there_is_told_before_the_first_step(
    fleetml: Callable[..., int], capsys: pytest.CaptureFixture[str], project: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere")
    assert fleetml("run", TYPES, "--run-id", "x", "--runner", "docker") == 1
    assert "start one, set DOCKER_HOST, or take --runner subprocess" in capsys.readouterr().err
    assert not Run(project.home, "x").exists()


def test_a_resumed_run_goes_on_with_its_runner_unless_told_otherwise(
    fleetml: Callable[..., int], capsys: pytest.CaptureFixture[str], project: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    cleanup = TYPES.with_name("cleanup.yaml")
    assert fleetml("run", cleanup, "--run-id", "x") == 1
    assert Run(project.home, "x").read()["runner"] == "subprocess"
    monkeypatch.setenv("FLEETML_RUNNER", "docker")
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere")
    capsys.readouterr()
    assert fleetml("resume", "x") == 1
    assert "step 'fail' failed: exit status 3" in capsys.readouterr().err
    assert fleetml("resume", "x", "--runner", "docker") == 1
    assert "Docker engine" in capsys.readouterr().err


def test_a_run_that_is_refused_leaves_its_message_and_nothing_else(
    fleetml: Callable[..., int], pipeline: Pipeline, project: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    path = pipeline("def a(): return {'out': 1}\n", {"a": []})
    path.write_text(path.read_text().replace("fleetml/ml", "fleetml/unknown"))
    assert fleetml("run", path, "--run-id", "r") == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("error: step 'a': ")
    assert len(told.err.splitlines()) == 1
    assert not Run(project.home, "r").folder.exists()
