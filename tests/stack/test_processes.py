"""Real processes; each is ended by the code under test, and a fixture makes sure of it."""

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from fleetml.stack import processes
from fleetml.stack.processes import MARK, Service, spawn

SLEEP = "import time; time.sleep(600)"
# Starts a child in a session of its own, tells its pid, and dies of SIGINT alone.
PARENT = f"""
import signal, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", {SLEEP!r}], start_new_session=True)
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print(child.pid, flush=True)
time.sleep(600)
"""


@pytest.fixture
def start(tmp_path: Path):
    home = tmp_path / "a home with spaces"

    def spawned(code: str) -> processes.Process:
        return spawn([sys.executable, "-c", code], home=home, log=home / "log", env=dict(os.environ), cwd=tmp_path)

    yield spawned
    processes.sweep(home)


def _child(log: Path) -> psutil.Process:
    assert processes.wait_until(lambda: log.exists() and log.read_text().endswith("\n"), 60)
    return psutil.Process(int(log.read_text().split()[0]))


def _gone(process: psutil.Process) -> bool:
    """A zombie that nobody reaped is gone as well."""
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def test_a_daemon_has_its_own_session_and_its_output_goes_to_the_log(start, tmp_path):
    daemon = start("print('hello', flush=True); " + SLEEP)
    log = tmp_path / "a home with spaces" / "log"
    assert processes.wait_until(lambda: log.read_text() == "hello\n", 60)
    assert os.getsid(daemon.pid) == daemon.pid
    assert daemon.alive()


def test_stop_ends_the_process_and_its_children_in_other_sessions(start, tmp_path):
    daemon = start(PARENT)
    child = _child(tmp_path / "a home with spaces" / "log")
    processes.stop(daemon, signal.SIGINT)
    assert not daemon.alive()
    assert _gone(child)


def test_stop_kills_what_ignores_the_polite_signal(start, tmp_path):
    daemon = start(PARENT)
    _child(tmp_path / "a home with spaces" / "log")
    processes.stop(daemon, signal.SIGTERM, grace_seconds=0.2)
    assert not daemon.alive()


def test_a_reused_pid_is_a_stranger_and_is_left_alone():
    stranger = subprocess.Popen([sys.executable, "-c", SLEEP])
    try:
        known = processes.Process.of(stranger.pid)
        assert known.alive()
        for stale in (replace(known, started=known.started - 1), replace(known, boot="an earlier one")):
            assert not stale.alive()
            processes.stop(stale)
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_a_clock_that_was_set_makes_nobody_a_stranger(start, monkeypatch):
    daemon = start(SLEEP)
    monkeypatch.setattr(psutil._pslinux, "boot_time", lambda: 1.0)  # what is reckoned from the clock
    assert daemon.alive()
    assert [member.pid for member in daemon.family()] == [daemon.pid]


def test_sweep_finds_an_orphan_whose_parent_is_gone(start, tmp_path):
    daemon = start(PARENT)
    child = _child(tmp_path / "a home with spaces" / "log")
    os.kill(daemon.pid, signal.SIGKILL)
    assert processes.wait_until(lambda: not daemon.alive(), 60)
    assert child.is_running()
    assert processes.sweep(tmp_path / "a home with spaces") == []
    assert _gone(child)


def test_another_home_is_not_swept(start, tmp_path):
    daemon = start(SLEEP)
    assert processes.sweep(tmp_path) == []
    assert daemon.alive()
    assert psutil.Process(daemon.pid).environ()[MARK] == str(tmp_path / "a home with spaces")


def test_a_service_survives_json_and_is_dead_with_its_process(start):
    service = Service("web", "http://127.0.0.1:1", (start(SLEEP),), "log", {"login": "any"})
    assert Service.from_json(service.to_json()) == service
    assert service.alive()
    processes.stop(service.processes[0])
    assert not service.alive()
    assert not replace(service, processes=()).alive()
