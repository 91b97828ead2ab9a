"""``fleetml`` as a user types it: real processes, their output and exit status."""

from __future__ import annotations

import os
import pty
import resource
import signal
import subprocess
import sys
import termios
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from fleetml.pipeline.values import canonical_json
from fleetml.records import Run
from fleetml.settings import Settings
from tests.cli.processes import command, gone, started
from tests.small_pipelines import Pipeline

PIPELINES = Path(__file__).parents[1] / "pipelines"
BRANCHES = str(PIPELINES / "branches.yaml")


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


def test_a_run_and_its_status_show_what_the_pipeline_puts_out(
    fleetml: Callable[..., int], project: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fleetml("run", str(PIPELINES / "published.yaml"), "--run-id", "one", "-p", "word=wörd") == 0
    *before, last = capsys.readouterr().out.splitlines()
    shown = sorted(line for line in before if line.startswith("output "))
    uri = Run(project.home, "one").read()["outputs"]["data"]["uri"]
    assert shown == [f"output data = {uri}", "output numbers = [0, 1]", 'output said = "wörd"']
    assert last == "run one: succeeded"
    assert fleetml("status", "one") == 0
    assert sorted(capsys.readouterr().out.splitlines()[-3:]) == shown


def test_the_source_of_a_pipeline_is_to_be_compiled_first(
    fleetml: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    source = str(PIPELINES / "branches.py")
    assert fleetml("run", source) == 2
    assert f"fleetml compile {source}" in capsys.readouterr().err


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
        (("run", str(PIPELINES / "task_config.yaml")), 1, "is not run yet"),
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
    assert capsys.readouterr().out.startswith("c  failed  local  cleanup  ")  # the latest
    assert fleetml("status", "c") == 0
    out = capsys.readouterr().out
    assert "upstream_failed" in out
    assert "fail failed" in out
    assert fleetml("logs", "c", "echo-2") == 0
    assert "printed nothing" in capsys.readouterr().err  # not silence, which reads like a defect
    assert fleetml("logs", "c", "nothing") == 2
    assert fleetml("costs") == 0
    assert fleetml("costs", "c") == 0
    assert "CPU s" in capsys.readouterr().out


def test_resume_keeps_what_is_finished_and_names_what_is_stale(
    fleetml: Callable[..., int], pipeline: Pipeline, stage: Callable[[str], str], capsys: pytest.CaptureFixture[str]
) -> None:
    code = "def a(): return {'out': 1}\ndef b(a): raise ValueError\n"
    path = pipeline(code, {"a": [], "b": ["a"]})
    assert fleetml("run", path, "--run-id", "r") == 1
    stage(code.replace("raise ValueError", "return {'out': a + 1}"))
    capsys.readouterr()
    assert fleetml("resume", "r") == 0
    out = capsys.readouterr().out
    assert out.startswith(
        "keeping 1 finished steps of 2\n  stale: a (code changed since); kept, --recheck runs it again\n"
    )
    assert fleetml("resume", "r", "--recheck") == 0
    assert "keeping 0 finished steps" in capsys.readouterr().out
    assert fleetml("resume", "r") == 0
    assert capsys.readouterr().out == "run r succeeded, and all it made is there: nothing to do\n"


def test_a_resumed_run_reuses_nothing_where_it_was_told_so(
    fleetml: Callable[..., int], pipeline: Pipeline, project: Settings
) -> None:
    path = pipeline("def a(): return {'out': 1}\ndef b(a): return {'out': a}\n", {"a": [], "b": ["a"]})
    assert fleetml("run", path, "--run-id", "first") == 0
    assert fleetml("run", path, "--run-id", "second", "--no-cache") == 0
    records = Run(project.home, "second")
    for attempt in (records.step_folder("b")).glob("attempt-*.json"):
        attempt.unlink()
    assert fleetml("resume", "second") == 0
    assert not records.latest()["b"].cached


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
        assert "k  running  " in status.stdout
        assert "  a  running" in status.stdout
    assert gone(step)
    status = subprocess.run(command("status"), env=environ, capture_output=True, text=True)
    assert status.stdout.startswith("k  died  ")
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


def on_terminal(words: list[str], env: dict[str, str]) -> tuple[str, int]:
    """Run a command with its output on a terminal of 100 columns; return what it wrote, and its status."""
    own, its = pty.openpty()
    termios.tcsetwinsize(its, (30, 100))
    with subprocess.Popen(words, env=env, stdout=its, stderr=its) as going:
        os.close(its)
        found = b""
        while True:
            try:
                chunk = os.read(own, 65536)
            except OSError:  # EIO: the other end is closed
                break
            if not chunk:
                break
            found += chunk
    os.close(own)
    return found.decode(), going.returncode


def test_a_terminal_shows_a_live_table_and_no_colour_means_none(pipeline: Pipeline, environ: dict[str, str]) -> None:
    path = pipeline("def a(): return {'out': 1}\ndef b(a): return {'out': a}\n", {"a": [], "b": ["a"]})
    env = {**environ, "TERM": "xterm-256color"}
    env.pop("NO_COLOR", None)
    shown, status = on_terminal(command("run", path), env)
    assert status == 0
    assert "✓ a" in shown
    assert "\x1b[32m" in shown  # green
    shown, status = on_terminal(command("run", path), {**env, "NO_COLOR": "1"})
    assert "↺ b" in shown
    assert "\x1b[32m" not in shown


def test_a_run_of_hits_loads_nothing_but_the_standard_library(pipeline: Pipeline, environ: dict[str, str]) -> None:
    path = pipeline("def a(): return {'out': 1}\n", {"a": []})
    path.write_text("# YAML\n" + path.read_text())
    path.with_name("triggers.yaml").write_text("owner: me\n")
    code = (
        "import sys; from fleetml.cli import main; before = set(sys.modules)\n"
        f"status = main(['run', {str(path)!r}])\n"
        "new = {name.partition('.')[0] for name in sys.modules} - sys.stdlib_module_names\n"
        "print(status, 'cached' if True else '', sorted(new & {'yaml', 'rich', 'pydantic', 'psutil', 'kfp', 'numpy'}))\n"
    )
    for _ in range(2):
        done = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=True)
    assert "cached" in done.stdout
    assert done.stdout.endswith("0 cached []\n")


def test_a_mistake_of_ours_is_one_line_and_a_file(
    fleetml: Callable[..., int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr("fleetml.cli.costs.run", lambda args, settings: {}["oops"])
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    assert fleetml("costs") == 70
    err = capsys.readouterr().err
    assert err.startswith("error: KeyError: 'oops'; a mistake of FleetML itself")
    assert len(err.splitlines()) == 1
    assert "Traceback" in Path(err.split()[-1]).read_text()


def test_errors_tell_no_password(
    fleetml: Callable[..., int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def fail(args: object, settings: object) -> int:
        raise RuntimeError("postgresql://u:pass99@h/db")

    monkeypatch.setattr("fleetml.cli.costs.run", fail)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert fleetml("costs") == 70
    err = capsys.readouterr().err
    assert "postgresql://u:***@h/db" in err
    assert "pass99" not in err + Path(err.split()[-1]).read_text()


def test_what_the_system_refuses_is_one_line(
    fleetml: Callable[..., int], project: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    project.home.write_text("a file where the folder should be")
    assert fleetml("run", BRANCHES) == 1
    err = capsys.readouterr().err
    assert len(err.splitlines()) == 1
    assert str(project.home) in err


@pytest.mark.parametrize("words", [("ls", "--limit=0"), ("ls", "--limit=-3"), ("gc", "--dry-run", "--keep-last=-1")])
def test_a_count_that_is_none_is_refused(
    words: tuple[str, ...], fleetml: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        fleetml(*words)
    assert ended.value.code == 2
    assert f"{words[-1].split('=')[0]}: must be a whole number from" in capsys.readouterr().err


@pytest.mark.parametrize("number", ["0", "-1", "many"])
def test_workers_are_a_number_from_one(
    fleetml: Callable[..., int], capsys: pytest.CaptureFixture[str], number: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        fleetml("run", BRANCHES, f"--workers={number}")
    assert ended.value.code == 2
    assert "whole number from 1" in capsys.readouterr().err


def test_parameters_that_are_no_mapping_are_refused(
    fleetml: Callable[..., int], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for text in ("[1, 2]", "{"):
        (tmp_path / "params.yaml").write_text(text)
        assert fleetml("run", BRANCHES, "--params", tmp_path / "params.yaml") == 2
        assert "params.yaml" in capsys.readouterr().err


def test_status_says_why_a_step_was_run(
    fleetml: Callable[..., int], pipeline: Pipeline, stage: Callable[[str], str], capsys: pytest.CaptureFixture[str]
) -> None:
    code = "def a(): return {'out': 1}\ndef b(): return {'out': 1}\n"
    path = pipeline(code, {"a": [], "b": []}, uncached=("b",))

    def why(run_id: str, *words: str) -> list[str]:
        assert fleetml("run", path, "--run-id", run_id, *words) == 0
        capsys.readouterr()
        assert fleetml("status", run_id) == 0
        return [
            line.rpartition("(")[2].rstrip(")\n") if "(" in line else ""
            for line in capsys.readouterr().out.splitlines()[1:]
        ]

    assert why("one") == ["first run", "never cached"]
    assert why("two") == ["", "never cached"]
    stage(code + "# changed")
    assert why("three") == ["code changed", "never cached"]
    assert why("four", "--no-cache")[0] == "cache off, or its result was gone"
