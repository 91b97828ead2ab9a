"""What a step starts in a session of its own ends with the step, whatever the component declares."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest

from fleetml.images import Images
from fleetml.runners import Command, strays
from fleetml.runners.container import orphaned, owner
from fleetml.runners.subprocess import SubprocessRunner
from fleetml.settings import Settings
from fleetml.stack.processes import wait_until

STRAY = (
    "import subprocess, sys\n"
    "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'], start_new_session=True,\n"
    "                         stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)\n"
    "print(child.pid)\n"
)


@pytest.mark.skipif(sys.platform != "linux", reason="environments of processes are read from /proc")
def test_a_component_with_a_temporary_folder_of_its_own_leaves_no_process(project: Settings, tmp_path: Path) -> None:
    lines: list[str] = []
    command = Command(
        ("python", "-c", STRAY), Images(project.project).resolve("fleetml/ml"), env={"TMPDIR": str(tmp_path)}
    )
    assert SubprocessRunner().run(command, lines.append, threading.Event()).succeeded
    assert wait_until(lambda: _is_over(int(lines[-1])), 60, 0.02)


def _is_over(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@pytest.mark.skipif(sys.platform != "linux", reason="limits of processes are read from /proc")
def test_nor_does_one_that_starts_a_daemon_without_our_environment(project: Settings) -> None:
    lines: list[str] = []
    daemon = "setsid env -i sleep 600 >/dev/null 2>&1 & echo $!; sleep 0.1"
    command = Command(("sh", "-c", daemon), Images(project.project).resolve("fleetml/ml"))
    assert SubprocessRunner().run(command, lines.append, threading.Event()).succeeded
    assert wait_until(lambda: _is_over(int(lines[-1])), 60, 0.02)


@pytest.mark.skipif(sys.platform != "linux", reason="limits of processes are read from /proc")
@pytest.mark.parametrize("changed", ["-S -R 5000000", "-S -R 1099511627776"])
def test_nor_does_one_whose_limits_were_changed(project: Settings, changed: str) -> None:
    lines: list[str] = []
    daemon = f"ulimit {changed}; setsid sleep 600 >/dev/null 2>&1 & echo $!; sleep 0.1"
    command = Command(("bash", "-c", daemon), Images(project.project).resolve("fleetml/ml"))
    assert SubprocessRunner().run(command, lines.append, threading.Event()).succeeded
    assert wait_until(lambda: _is_over(int(lines[-1])), 60, 0.02)


@pytest.mark.skipif(sys.platform != "linux", reason="limits of processes are read from /proc")
def test_of_processes_of_others_no_file_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not strays.tool("prlimit"):
        pytest.skip("util-linux is not here, so variables alone mark the processes of a step")
    read: list[str] = []
    monkeypatch.setattr(strays, "_told", lambda pid, what: read.append(f"{pid}/{what}") or b"")
    with subprocess.Popen(["sleep", "600"]) as other:
        strays.kill(strays.folder(tmp_path))
        assert f"{other.pid}/environ" not in read
        strays.kill(strays.folder(tmp_path), thorough=True)
        assert f"{other.pid}/environ" in read
        other.kill()


ENGINE = """
import pathlib, sys, threading
from fleetml.images import Images
from fleetml.runners import Command
from fleetml.runners.subprocess import SubprocessRunner
shell = Command(("sh", "-c", "sleep 600 & echo $!; wait"), Images(pathlib.Path(sys.argv[1])).resolve("fleetml/ml"))
SubprocessRunner().run(shell, lambda line: print(line, flush=True), threading.Event())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="engines are told apart by /proc")
@pytest.mark.parametrize("reaped", [True, False], ids=["gone", "a zombie"])
def test_the_next_engine_removes_what_one_that_was_killed_left(
    project: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reaped: bool
) -> None:
    environ = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(
        [sys.executable, "-c", ENGINE, str(project.project)], env=environ, stdout=subprocess.PIPE, text=True
    ) as engine:
        assert engine.stdout
        child = int(engine.stdout.readline())
        engine.kill()
        os.waitid(os.P_PID, engine.pid, os.WEXITED | os.WNOWAIT)
        if reaped:
            engine.wait()
        assert not _is_over(child)
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
        strays._swept.cache_clear()
        command = Command(("true",), Images(project.project).resolve("fleetml/ml"))
        assert SubprocessRunner().run(command, print, threading.Event()).succeeded
        assert wait_until(lambda: _is_over(child), 60, 0.02)
    assert list(tmp_path.glob("fleetml-step-*")) == []


@pytest.mark.parametrize("earlier", ["1763762400.12", "0"])
def test_an_owner_of_an_older_checkout_is_alive_while_its_number_is(earlier: str) -> None:
    with subprocess.Popen(["sleep", "600"]) as engine:
        host, pid, _ = owner(engine.pid).split()
        while_it_runs = orphaned(f"{host} {pid} {earlier}")
        engine.kill()
    assert (while_it_runs, orphaned(f"{host} {pid} {earlier}")) == (False, True)


@pytest.mark.skipif(sys.platform != "linux", reason="zombies are those of Linux")
def test_a_container_of_a_zombie_is_an_orphan() -> None:
    with subprocess.Popen(["sleep", "600"]) as engine:
        try:
            by = owner(engine.pid)
            assert not orphaned(by)
        finally:
            engine.kill()
        os.waitid(os.P_PID, engine.pid, os.WEXITED | os.WNOWAIT)
        assert orphaned(by)
