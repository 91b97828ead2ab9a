"""``fleetml run`` that is interrupted, killed, or out of disk: the true status, no process left, and it goes on."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
from pathlib import Path

import psutil
import pytest

from fleetml.records import Run
from fleetml.settings import Settings
from tests.cli.processes import command, gone, started
from tests.small_pipelines import Pipeline


@pytest.mark.parametrize("sig", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupted_run_leaves_no_process_and_can_go_on(
    project: Settings, slow: tuple[Path, Path, Path], environ: dict[str, str], sig: signal.Signals
) -> None:
    path, fifo, gate = slow
    with started(environ, "run", path, "--run-id", "i") as going:
        step = psutil.Process(int(fifo.read_text()))
        going.send_signal(sig)
        out, _ = going.communicate(timeout=60)
    assert going.returncode == 130
    assert "fleetml resume i" in out
    assert gone(step)
    assert Run(project.home, "i").read()["state"] == "cancelled"
    assert [place.name for place in (project.home / "results").iterdir()] == []
    gate.touch()
    done = subprocess.run(command("resume", "i"), env=environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_run_whose_process_was_killed_is_told_dead_and_can_go_on(
    project: Settings, slow: tuple[Path, Path, Path], environ: dict[str, str]
) -> None:
    path, fifo, gate = slow
    with started(environ, "run", path, "--run-id", "k"):
        step = psutil.Process(int(fifo.read_text()))
        status = subprocess.run(command("status", "k"), env=environ, capture_output=True, text=True)
        assert status.stdout.startswith("run k: running; ")
        assert "\n  a     running" in status.stdout
    assert gone(step)
    status = subprocess.run(command("status"), env=environ, capture_output=True, text=True)
    assert status.stdout.startswith("run k: died; ")
    assert "fleetml resume k" in status.stdout
    gate.touch()
    done = subprocess.run(command("resume", "k"), env=environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert Run(project.home, "k").read()["state"] == "succeeded"


def test_a_step_that_is_killed_failed(
    project: Settings, slow: tuple[Path, Path, Path], environ: dict[str, str]
) -> None:
    path, fifo, _ = slow
    with started(environ, "run", path, "--run-id", "s") as going:
        os.kill(int(fifo.read_text()), signal.SIGKILL)
        _, err = going.communicate(timeout=60)
    assert going.returncode == 1
    assert err.startswith("step 'a' failed: killed by SIGKILL")
    assert len(err.splitlines()) <= 10


def test_a_full_disk_is_a_failed_step_and_not_a_traceback(pipeline: Pipeline, environ: dict[str, str]) -> None:
    """No file may grow beyond 20 kB, neither the step's nor ours: its log is the first to do so."""
    environ = {name: value for name, value in environ.items() if not name.startswith("COVERAGE")}  # its file is larger
    path = pipeline(
        "def a():\n    for n in range(10_000): print('a line of the log')\n    return {'out': 1}\n", {"a": []}
    )

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

    done = subprocess.run(
        command("run", path, "--run-id", "f"), env=environ, capture_output=True, text=True, preexec_fn=limit
    )
    assert done.returncode == 1
    assert "step 'a' failed: a step needs room" in done.stderr
    assert "fleetml resume f" in done.stderr
    assert "Traceback" not in done.stderr
