"""What a step starts in a session of its own ends with the step, whatever the component declares."""

import sys
import threading
from pathlib import Path

import psutil
import pytest

from fleetml.images import Images
from fleetml.runners import Command
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
    assert wait_until(lambda: _is_over(int(lines[-1])), 5, 0.02)


def _is_over(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
