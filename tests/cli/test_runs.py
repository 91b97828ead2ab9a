"""``fleetml ls`` and ``stop``: which runs there are, and how one ends that another process runs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from fleetml import atomic
from fleetml.engines.local.stop import stop
from fleetml.errors import Unavailable
from fleetml.records import Run
from fleetml.settings import Settings
from tests.cli.processes import command, gone, started
from tests.small_pipelines import Pipeline


def record(home: Path, run_id: str, **known: object) -> None:
    document = {"run_id": run_id, "pipeline": "p", "engine": "local", "state": "succeeded", "started": 1.0, "steps": []}
    atomic.write_json(home / "runs" / run_id / "run.json", {**document, **known})


def test_ls_lists_runs_by_state_pipeline_and_number(
    fleetml: Callable[..., int], project: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    record(project.home, "one", started=1.0, finished=3.5)
    record(project.home, "two", started=2.0, state="failed")
    record(project.home, "three", started=3.0, pipeline="q")
    record(project.home, "four", started=4.0, state="running")
    Run(project.home, "four").lock.touch()

    def listed(*words: str) -> list[str]:
        assert fleetml("ls", *words) == 0
        head, *lines = capsys.readouterr().out.splitlines()
        assert head.split() == ["RUN", "STATE", "ENGINE", "PIPELINE", "STARTED", "TOOK"]
        assert all(line[head.index("ENGINE") :].startswith("local ") for line in lines)
        return lines

    assert [line.split()[0] for line in listed()] == ["four", "three", "two", "one"]
    assert listed()[-1].split()[:4] == ["one", "succeeded", "local", "p"]
    assert listed()[-1].endswith("  2.5 s")
    assert [line.split()[:2] for line in listed("--state", "died")] == [["four", "died"]]
    assert [line.split()[0] for line in listed("--pipeline", "p", "--limit", "2")] == ["four", "two"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--pipeline", "nope"), "no run of pipeline 'nope'; there are runs of p, q"),
        (("--pipeline", "p", "--state", "cancelled"), "no run of p has the state cancelled"),
        (("--state", "died"), "no run has the state died"),
    ],
)
def test_ls_says_that_there_is_none(
    fleetml: Callable[..., int],
    project: Settings,
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    said: str,
) -> None:
    assert fleetml("ls") == 0
    assert "no run in" in capsys.readouterr().err
    record(project.home, "one")
    record(project.home, "two", pipeline="q")
    assert fleetml("ls", *words) == 0
    assert capsys.readouterr() == ("", f"{said}\n")


def test_status_without_any_run_says_so(fleetml: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    assert fleetml("status") == 2
    assert "no run in" in capsys.readouterr().err


def test_a_run_of_another_process_is_stopped_and_can_go_on(
    project: Settings, slow: tuple[Path, Path, Path], environ: dict[str, str]
) -> None:
    path, fifo, gate = slow
    with started(environ, "run", path, "--run-id", "r") as going:
        step = psutil.Process(int(fifo.read_text()))
        done = subprocess.run(command("stop", "r"), env=environ, capture_output=True, text=True)
        assert done.stdout == "run r: cancelled\ngo on with: fleetml resume r\n", done.stderr
        assert gone(step)
        out, _ = going.communicate(timeout=60)
    assert (going.returncode, out.splitlines()[-2]) == (130, "run r: cancelled")
    assert Run(project.home, "r").read()["state"] == "cancelled"
    gate.touch()
    assert subprocess.run(command("resume", "r"), env=environ, capture_output=True).returncode == 0
    done = subprocess.run(command("stop", "r"), env=environ, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "run r is over: succeeded\n")


def test_an_engine_that_does_not_answer_is_ended_with_its_steps(
    project: Settings, slow: tuple[Path, Path, Path], environ: dict[str, str]
) -> None:
    path, fifo, _ = slow
    with started(environ, "run", path, "--run-id", "r") as going:
        step = psutil.Process(int(fifo.read_text()))
        going.send_signal(signal.SIGSTOP)
        assert stop(Run(project.home, "r"), patience=0.5) == "cancelled"
        assert gone(step)
        going.wait(10)


def test_what_cannot_be_ended_from_here_is_told(project: Settings) -> None:
    """The lock is held by a process that the record does not name."""
    record(project.home, "r", state="running", pid=os.getppid())
    records = Run(project.home, "r")
    with records.held(), pytest.raises(Unavailable, match="stop it there"):
        stop(records, patience=0.1)


def test_a_run_that_died_says_so(
    fleetml: Callable[..., int],
    slow: tuple[Path, Path, Path],
    environ: dict[str, str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    path, fifo, _ = slow
    with started(environ, "run", path, "--run-id", "r"):
        step = psutil.Process(int(fifo.read_text()))
    assert gone(step)
    assert fleetml("status", "r") == 0
    assert [line.split()[:2] for line in capsys.readouterr().out.splitlines()][-1] == ["a", "died"]
    assert fleetml("stop", "r") == 0
    assert "its process died; go on with: fleetml resume r" in capsys.readouterr().out


@pytest.mark.skipif(sys.platform != "linux", reason="environments of processes are read from /proc")
@pytest.mark.parametrize("how", ["stop", "resume"])
def test_what_steps_of_an_engine_that_died_had_started_ends(
    project: Settings, pipeline: Pipeline, environ: dict[str, str], tmp_path: Path, how: str
) -> None:
    """Linux ends the step with its engine, not the step's child in a session of its own."""
    fifo, gate = tmp_path / "fifo", tmp_path / "gate"
    os.mkfifo(fifo)
    code = (
        "import pathlib, subprocess, time\n"
        "def a():\n"
        f"    if not pathlib.Path({str(gate)!r}).exists():\n"
        "        child = subprocess.Popen(['sleep', '600'], start_new_session=True)\n"
        f"        pathlib.Path({str(fifo)!r}).write_text(str(child.pid))\n"
        "        time.sleep(600)\n"
        "    return {'out': 1}\n"
    )
    with started(environ, "run", pipeline(code, {"a": []}), "--run-id", "r"):
        child = psutil.Process(int(fifo.read_text()))
        gate.touch()
    assert child.is_running()
    done = subprocess.run(command(how, "r"), env=environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert gone(child)


def test_a_run_of_an_airflow_that_is_not_here_is_told(
    fleetml: Callable[..., int], project: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    record(project.home, "r", state="running", engine="airflow", dag_id="d", dag_run_id="x")
    assert fleetml("stop", "r") == 1
    assert "run r is Airflow's (DAG d)" in capsys.readouterr().err


def test_a_stop_asked_of_an_earlier_attempt_does_not_end_the_next(
    fleetml: Callable[..., int], project: Settings, pipeline: Pipeline
) -> None:
    path = pipeline("def a(): return {'out': 1}\n", {"a": []})
    assert fleetml("run", path, "--run-id", "r") == 0
    Run(project.home, "r").ask_to_stop()
    assert fleetml("resume", "r") == 0
