"""``fleetml`` as a user types it: real processes, their output and exit status."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from fleetml.cli import main
from fleetml.pipeline.values import canonical_json
from fleetml.records import Run
from fleetml.settings import Settings

PIPELINES = Path(__file__).parents[1] / "pipelines"
BRANCHES = str(PIPELINES / "branches.yaml")


@pytest.fixture
def fleetml(project: Settings, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    monkeypatch.setenv("FLEETML_PROJECT", str(project.project))
    return lambda *words: main([str(word) for word in words])


def test_run_shows_each_step_and_how_the_run_ended(
    fleetml: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert fleetml("run", BRANCHES, "--run-id", "one", "-p", "size=11") == 0
    out = capsys.readouterr().out
    assert "condition-branches-1/condition-2/echo  " in out
    assert "skipped" in out
    assert "size = 11" in out  # why a step was skipped
    assert out.endswith("run one: succeeded\n")
    assert "\x1b" not in out


def test_a_failed_step_is_told_in_ten_lines_and_the_status(
    fleetml: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert fleetml("run", PIPELINES / "cleanup.yaml", "--run-id", "bad") == 1
    err = capsys.readouterr().err
    assert "step 'fail' failed: exit status 3" in err
    assert "fleetml resume bad" in err
    assert len(err.splitlines()) <= 10


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (("run", BRANCHES, "-p", "size=x"), 2, "must be an integer, got 'x'"),
        (("run", BRANCHES, "-p", "sizes=3"), 2, "did you mean 'size'"),
        (("run", BRANCHES, "-p", "size"), 2, "NAME=VALUE"),
        (("run", "no/such/place"), 2, "is not there"),
        (("run", str(PIPELINES / "loop.yaml")), 1, "is not run yet"),
        (("run", BRANCHES, "--run-id", "../out"), 2, "a run id is"),
        (("status", "nobody"), 2, "no run 'nobody'"),
        (("logs", "nobody", "x"), 2, "no run 'nobody'"),
        (("submit", BRANCHES), 2, "--host"),
    ],
)
def test_a_mistake_is_one_line(
    fleetml: Callable[..., int], capsys: pytest.CaptureFixture[str], words: tuple[str, ...], status: int, said: str
) -> None:
    assert fleetml(*words) == status
    err = capsys.readouterr().err
    assert said in err
    assert "Traceback" not in err


def test_parameters_from_a_file_and_from_triggers(
    fleetml: Callable[..., int], project: Settings, tmp_path: Path
) -> None:
    folder = tmp_path / "pipeline"
    folder.mkdir()
    (folder / "pipeline.yaml").write_text(Path(BRANCHES).read_text())
    (folder / "triggers.yaml").write_text("defaults: {word: triggered, size: 12}")
    (tmp_path / "params.yaml").write_text(canonical_json({"size": 13, "heads": False}))
    assert fleetml("run", folder, "--run-id", "p", "--params", tmp_path / "params.yaml", "-p", "size=14") == 0
    found = Run(project.home, "p").read()["parameters"]
    assert found == {"word": "triggered", "size": 14, "heads": False, "floor": 0.5}


def test_a_run_id_is_used_once(fleetml: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    assert fleetml("run", BRANCHES, "--run-id", "x") == 0
    assert fleetml("run", BRANCHES, "--run-id", "x") == 2
    assert "fleetml resume x" in capsys.readouterr().err


def test_status_logs_and_costs_read_the_record(fleetml: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    fleetml("run", PIPELINES / "cleanup.yaml", "--run-id", "c")
    capsys.readouterr()
    assert fleetml("status") == 0
    assert capsys.readouterr().out.startswith("c  failed  local  cleanup  ")
    assert fleetml("status", "c") == 0
    out = capsys.readouterr().out
    assert "upstream_failed" in out
    assert "fail failed" in out
    assert fleetml("logs", "c", "echo-2") == 0
    assert fleetml("logs", "c", "nothing") == 2
    assert fleetml("costs") == 0
    assert fleetml("costs", "c") == 0
    assert "CPU s" in capsys.readouterr().out


def test_resume_keeps_what_is_finished(
    fleetml: Callable[..., int], project: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    fleetml("run", PIPELINES / "cleanup.yaml", "--run-id", "r")
    capsys.readouterr()
    assert fleetml("resume", "r") == 1  # it fails again, for the same reason
    out = capsys.readouterr().out
    assert out.startswith("keeping 1 finished steps of 3")
    records = Run(project.home, "r")
    assert len(records.attempts("echo-2")) == 1
    assert len(records.attempts("fail")) == 2


def test_compile_check_finds_what_differs(
    fleetml: Callable[..., int], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    source = tmp_path / "pipeline.py"
    source.write_text(
        "from kfp import dsl\n"
        "@dsl.container_component\n"
        "def c(n: int):\n    return dsl.ContainerSpec(image='i', command=['true'], args=[n])\n"
        "@dsl.pipeline(name='p')\ndef p(n: int = 1):\n    c(n=n)\n"
    )
    assert fleetml("compile", source) == 0
    assert fleetml("compile", "--check", tmp_path) == 0
    source.write_text(source.read_text().replace("n: int = 1", "n: int = 2"))
    assert fleetml("compile", "--check", source) == 1
    assert "differs" in capsys.readouterr().out


@pytest.mark.parametrize("sig", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_leaves_no_process_and_can_go_on(
    project: Settings, stage: Callable[[str], str], tmp_path: Path, sig: signal.Signals
) -> None:
    """The step says that it runs through a FIFO, so nothing here waits by the clock."""
    fifo, gate = tmp_path / "fifo", tmp_path / "gate"
    os.mkfifo(fifo)
    entry = stage(
        "import os, pathlib, time\n"
        "def work():\n"
        f"    if pathlib.Path({str(gate)!r}).exists(): return\n"
        f"    pathlib.Path({str(fifo)!r}).write_text(str(os.getpid()))\n"
        "    time.sleep(600)\n"
    )
    ir = tmp_path / "p.yaml"
    ir.write_text(
        canonical_json(
            {
                "schemaVersion": "2.1.0",
                "sdkVersion": "kfp-2.17.0",
                "pipelineInfo": {"name": "p"},
                "components": {"comp-w": {"executorLabel": "exec-w"}},
                "deploymentSpec": {
                    "executors": {
                        "exec-w": {
                            "container": {
                                "image": "fleetml/ml",
                                "command": ["python", "-m", "fleetml.component", f"{entry}:work"],
                                "args": ["{{$}}"],
                            }
                        }
                    }
                },
                "root": {"dag": {"tasks": {"w": {"componentRef": {"name": "comp-w"}, "taskInfo": {"name": "w"}}}}},
            }
        )
    )
    env = {**os.environ, "FLEETML_PROJECT": str(project.project)}
    command = [sys.executable, "-m", "fleetml", "run", str(ir), "--run-id", "i"]
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) as going:
        step = psutil.Process(int(fifo.read_text()))
        going.send_signal(sig)
        out, _ = going.communicate(timeout=60)
    assert going.returncode == 130
    assert "fleetml resume i" in out
    assert not step.is_running() or step.status() == psutil.STATUS_ZOMBIE
    assert Run(project.home, "i").read()["state"] == "cancelled"
    gate.touch()
    done = subprocess.run([sys.executable, "-m", "fleetml", "resume", "i"], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
