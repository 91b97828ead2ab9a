"""What only the subprocess runner does."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest

from fleetml.cost import meters
from fleetml.errors import ConfigurationError, Unavailable
from fleetml.images import Images
from fleetml.runners import Command
from fleetml.runners.subprocess import SubprocessRunner
from fleetml.settings import Settings


def lines(project: Settings, runner: SubprocessRunner, *argv: str, **known: object) -> list[str]:
    found: list[str] = []
    image = Images(project.project).resolve("fleetml/ml")
    assert runner.run(Command(argv, image, **known), found.append, threading.Event()).succeeded  # type: ignore[arg-type]
    return found


def test_python_is_that_of_the_image(project: Settings) -> None:
    code = "import sys; print(sys.prefix)"
    for program in ("python", "python3"):
        assert lines(project, SubprocessRunner(), program, "-c", code) == [sys.prefix]
    assert lines(project, SubprocessRunner(), "sh", "-c", f"python3 -c '{code}'") == [sys.prefix]


def test_variables_of_ours_pass_when_named(project: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STORE_KEY", "k")
    code = "import os; print(os.environ.get('STORE_KEY'))"
    assert lines(project, SubprocessRunner(), "python", "-c", code) == ["None"]
    assert lines(project, SubprocessRunner(passed=("STORE_KEY",)), "python", "-c", code) == ["k"]


def test_a_machine_without_room_for_temporary_files_says_so(project: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", "/no/such/place")
    with pytest.raises(Unavailable, match="/no/such/place"):
        lines(project, SubprocessRunner(), "true")


def test_a_file_that_is_no_program_is_named(project: Settings, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.write_text("nothing that a machine runs")
    broken.chmod(0o755)
    with pytest.raises(ConfigurationError, match="broken"):
        lines(project, SubprocessRunner(), str(broken))


def test_no_line_of_ours_runs_in_the_new_process_where_it_would_wait_for_a_lock_of_another_thread(
    project: Settings,
) -> None:
    us, before = os.getpid(), sys.gettrace()

    def trace(*_: object) -> None:
        if os.getpid() != us:
            os._exit(77)

    sys.settrace(trace)
    try:
        told = lines(project, SubprocessRunner(), "echo", "started")
    finally:
        sys.settrace(before)
    assert told == ["started"]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process of its parent's death")
def test_a_step_dies_with_an_engine_that_is_killed(project: Settings, tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    step = f"import os, time\nopen({str(fifo)!r}, 'w').write(str(os.getpid()))\ntime.sleep(600)\n"
    engine = (
        "import threading; from pathlib import Path; from fleetml.images import Images\n"
        "from fleetml.runners import Command; from fleetml.runners.subprocess import SubprocessRunner\n"
        f"image = Images(Path({str(project.project)!r})).resolve('fleetml/ml')\n"
        f"command = Command(('python', '-c', {step!r}), image)\n"
        "run = lambda: SubprocessRunner().run(command, print, threading.Event())\n"
        "thread = threading.Thread(target=run); thread.start(); thread.join()\n"
    )
    with subprocess.Popen([sys.executable, "-c", engine]) as going:
        child = psutil.Process(int(fifo.read_text()))
        going.kill()
    try:
        child.wait(30)
    except psutil.NoSuchProcess:
        pass
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE


def test_the_project_is_importable_and_the_working_folder_is_the_command_s_own(project: Settings) -> None:
    (project.project / "shared.py").write_text("WORD = 'found'")
    code = "import os, shared; print(shared.WORD, os.listdir('.'))"
    assert lines(project, SubprocessRunner(), "python", "-c", code) == ["found []"]


def test_a_step_has_its_part_of_the_energy_that_the_processors_counted(
    project: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A made-up powercap tree, whose counter the step itself turns by 5 J."""
    package = tmp_path / "powercap" / "intel-rapl:0"
    package.mkdir(parents=True)
    for name, content in (("name", "package-0"), ("max_energy_range_uj", "1000000000"), ("energy_uj", "7000000")):
        (package / name).write_text(content)
    real = meters.Meter
    monkeypatch.setattr(meters, "Meter", lambda family: real(family, powercap=tmp_path / "powercap"))
    busy = "import time; end = time.process_time() + 0.2\nwhile time.process_time() < end: pass\n"
    turn = f"open({str(package / 'energy_uj')!r}, 'w').write('12000000')"
    command = Command(("python", "-c", busy + turn), Images(project.project).resolve("fleetml/ml"))
    usage = SubprocessRunner().run(command, lambda line: None, threading.Event()).usage
    assert usage.vcpus == os.cpu_count()
    assert usage.machine_cpu_seconds is not None
    assert usage.machine_cpu_seconds >= usage.cpu_seconds > 0.2
    assert usage.joules == pytest.approx(5 * usage.cpu_seconds / usage.machine_cpu_seconds)
