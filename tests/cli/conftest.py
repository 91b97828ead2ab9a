"""Pipelines of Python functions for these tests, and the command line on a project."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from fleetml.cli import main
from fleetml.settings import Settings
from tests.small_pipelines import Pipeline, pipeline

__all__ = ["pipeline"]


@pytest.fixture
def fleetml(project: Settings, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    monkeypatch.setenv("FLEETML_PROJECT", str(project.project))
    return lambda *words: main([str(word) for word in words])


@pytest.fixture
def environ(project: Settings) -> dict[str, str]:
    """Return our environment without what libraries that other tests use left in it for themselves."""
    others = ("FLEETML_", "OPENLINEAGE", "OTEL_", "AWS_", "MLFLOW_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(others)}
    return {**kept, "FLEETML_PROJECT": str(project.project)}


@pytest.fixture
def slow(pipeline: Pipeline, tmp_path: Path) -> tuple[Path, Path, Path]:
    """Return the IR of a step that tells its pid through a FIFO and then sleeps, the FIFO, and a file that ends that."""
    fifo, gate = tmp_path / "fifo", tmp_path / "gate"
    os.mkfifo(fifo)
    code = (
        "import os, pathlib, time\n"
        "def a():\n"
        f"    if not pathlib.Path({str(gate)!r}).exists():\n"
        f"        pathlib.Path({str(fifo)!r}).write_text(str(os.getpid()))\n"
        "        time.sleep(600)\n"
        "    return {'out': 1}\n"
    )
    return pipeline(code, {"a": []}), fifo, gate
