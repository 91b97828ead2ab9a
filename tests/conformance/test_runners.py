"""What every runner must do. A new runner is one entry in `RUNNERS`."""

from __future__ import annotations

import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from fleetml.errors import ConfigurationError, InvalidPipeline
from fleetml.images import Images
from fleetml.runners import Command, Exit, Limits, Runner
from fleetml.runners.subprocess import SubprocessRunner
from fleetml.settings import Settings

RUNNERS = {"subprocess": lambda: SubprocessRunner(grace=0.5)}


@pytest.fixture(params=RUNNERS)
def runner(request: pytest.FixtureRequest) -> Runner:
    return RUNNERS[request.param]()


class Ran:
    def __init__(self, exit: Exit, lines: list[str]) -> None:
        self.exit, self.lines = exit, lines


@pytest.fixture
def go(runner: Runner, project: Settings, tmp_path: Path):
    """Return a function that runs Python code through the runner."""

    def go(code: str, cancel: threading.Event | None = None, on_line=None, **known: object) -> Ran:
        lines: list[str] = []

        def hear(line: str) -> None:
            lines.append(line)
            if on_line:
                on_line(line)

        image = Images(project.project).resolve("fleetml/ml")
        command = Command(("python", "-c", code), image, writable=(tmp_path,), **known)
        return Ran(runner.run(command, hear, cancel or threading.Event()), lines)

    return go


def alive(pid: int) -> bool:
    """A zombie that nobody has reaped yet is not alive."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_success(go) -> None:
    ran = go("print('one'); print('two')")
    assert ran.exit.succeeded
    assert ran.exit.status == 0
    assert ran.lines == ["one", "two"]


@pytest.mark.parametrize("status", [1, 3, 255])
def test_the_exit_status_is_the_true_one(go, status: int) -> None:
    ran = go(f"raise SystemExit({status})")
    assert (ran.exit.status, ran.exit.ended, ran.exit.succeeded) == (status, "itself", False)


def test_a_signal_that_ended_the_command_is_told(go) -> None:
    ran = go("import os; os.kill(os.getpid(), 9)")
    assert ran.exit.status == -signal.SIGKILL
    assert "SIGKILL" in str(ran.exit)


def test_both_streams_arrive(go) -> None:
    ran = go("import sys; print('out', flush=True); print('err', file=sys.stderr)")
    assert sorted(ran.lines) == ["err", "out"]


def test_the_last_line_needs_no_newline(go) -> None:
    assert go("import sys; sys.stdout.write('end')").lines == ["end"]


def test_declared_variables_arrive_and_ours_stay_here(go, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_OF_OURS", "x")
    ran = go("import os; print(os.environ['MINE'], os.environ.get('SECRET_OF_OURS'))", env={"MINE": "yes"})
    assert ran.lines == ["yes None"]


def test_cancel_ends_the_command_and_its_children(go) -> None:
    cancel = threading.Event()
    code = (
        "import os, subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    ran = go(code, cancel, on_line=lambda line: cancel.set())
    assert ran.exit.ended == "cancelled"
    assert not alive(int(ran.lines[0]))


def test_a_command_that_ignores_the_polite_signal_is_killed(go) -> None:
    cancel = threading.Event()
    code = "import signal, time\nsignal.signal(15, signal.SIG_IGN)\nprint('ready', flush=True)\ntime.sleep(600)\n"
    ran = go(code, cancel, on_line=lambda line: cancel.set())
    assert ran.exit.ended == "cancelled"
    assert ran.exit.status == -signal.SIGKILL


def test_children_left_behind_end_with_the_command(go) -> None:
    code = (
        "import subprocess, sys\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "print(child.pid, flush=True)\n"
    )
    ran = go(code)
    assert ran.exit.succeeded
    assert not alive(int(ran.lines[0]))


def test_the_time_limit_ends_it(go) -> None:
    ran = go("import time; time.sleep(600)", limits=Limits(seconds=0.3))
    assert ran.exit.ended == "timeout"
    assert not ran.exit.succeeded


def test_usage_is_measured(go) -> None:
    usage = go("x = sum(i * i for i in range(2_000_000))").exit.usage
    assert usage.cpu_seconds > 0
    assert usage.wall_seconds > 0
    assert usage.max_rss_bytes > 1_000_000


def test_every_command_has_a_clean_temporary_folder(go) -> None:
    code = "import os, tempfile; print(tempfile.gettempdir()); open(tempfile.gettempdir() + '/left', 'w').close()"
    first, second = go(code).lines[0], go(code).lines[0]
    assert first != second
    assert not os.path.exists(first)  # noqa: PTH110


def test_a_program_that_is_not_there_is_named(runner: Runner, project: Settings) -> None:
    image = Images(project.project).resolve("fleetml/ml")
    with pytest.raises(ConfigurationError, match="no-such-program"):
        runner.run(Command(("no-such-program",), image), print, threading.Event())


def test_a_child_that_left_the_group_ends_too(go) -> None:
    code = (
        "import subprocess, sys\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'], start_new_session=True)\n"
        "print(child.pid, flush=True)\n"
    )
    assert not alive(int(go(code).lines[0]))


def test_the_memory_limit_ends_it(go) -> None:
    ran = go("import time; x = bytearray(300_000_000); time.sleep(600)", limits=Limits(memory=100_000_000))
    assert ran.exit.ended == "memory"
    assert "memory limit" in str(ran.exit)
    assert not ran.exit.succeeded


def test_output_that_cannot_be_taken_ends_the_command_with_that_error(go) -> None:
    def full(line: str) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        go("import time\nfor n in range(100_000): print(n, flush=True)\ntime.sleep(600)\n", on_line=full)


def test_much_output_and_bytes_that_are_no_text_arrive(go) -> None:
    ran = go("import sys\nfor n in range(20_000): print(n)\nsys.stdout.flush(); sys.stdout.buffer.write(b'\\xff\\n')\n")
    assert ran.lines[:20_000] == [str(n) for n in range(20_000)]
    assert ran.lines[20_000:] == ["\ufffd"]


def test_the_project_is_importable_and_the_working_folder_is_the_command_s_own(go, project: Settings) -> None:
    (project.project / "shared.py").write_text("WORD = 'found'")
    ran = go("import os, shared; print(shared.WORD, os.listdir('.'))")
    assert ran.lines == ["found []"]


def test_several_at_once_do_not_disturb_each_other(go) -> None:
    with ThreadPoolExecutor(4) as pool:
        ran = list(pool.map(lambda n: go(f"print({n}); raise SystemExit({n})"), range(8)))
    assert [(each.exit.status, each.lines) for each in ran] == [(n, [str(n)]) for n in range(8)]


@pytest.mark.parametrize(
    ("cpu", "memory", "limits"),
    [("", "", Limits()), ("500m", "2Gi", Limits(0.5, 2 * 2**30)), ("2", "1.5G", Limits(2.0, 1_500_000_000))],
)
def test_limits_are_kubernetes_quantities(cpu: str, memory: str, limits: Limits) -> None:
    assert Limits.parse(cpu, memory, "step 'x'") == limits
    with pytest.raises(InvalidPipeline, match=r"step 'x'.*'much'"):
        Limits.parse("much", memory, "step 'x'")
