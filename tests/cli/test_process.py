"""The command as a process of its own: it ends at once, and loses nothing of what was printed or is still to be done."""

from __future__ import annotations

import os
import subprocess
import sys

_BESIDE = """
import atexit, sys, threading, time
from fleetml import __main__ as it
it.main = lambda: print("said", end="") or {status}
atexit.register(lambda: print(", ended", end=""))
{more}
sys.exit(it.command())
"""
_THREAD = "threading.Thread(target=lambda: (threading.main_thread().join(), print(', thread', end=''))).start()"


def _ended(status: int, more: str = "") -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-c", _BESIDE.format(status=status, more=more)], capture_output=True, text=True
    )
    assert not done.stderr
    return done.returncode, done.stdout


def test_status_output_and_what_is_registered_for_the_end() -> None:
    assert _ended(0) == (0, "said, ended")
    assert _ended(3) == (3, "said, ended")


def test_a_thread_is_waited_for() -> None:
    assert _ended(1, _THREAD) == (1, "said, thread, ended")


def test_output_that_cannot_be_written_is_told_as_python_tells_it() -> None:
    code = "import sys; from fleetml import __main__ as it; it.main = lambda: print('x', end='') or 0; sys.exit(it.command())"
    with open("/dev/full", "w") as full:  # noqa: PTH123
        env = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
        done = subprocess.run([sys.executable, "-c", code], stdout=full, stderr=subprocess.PIPE, text=True, env=env)
    assert done.returncode == 120
    assert "No space left" in done.stderr
