"""What every runner must do. A new runner is one entry in `RUNNERS`; where it cannot run here, its tests are skipped."""

from __future__ import annotations

import signal
import threading
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from fleetml.errors import ConfigurationError, InvalidPipeline
from fleetml.images import Image, Images
from fleetml.runners import Command, Exit, Limits, Runner
from fleetml.runners.subprocess import SubprocessRunner
from fleetml.runners.warm import WarmRunner
from fleetml.settings import Settings

Environment = tuple[Runner, Image]


def _subprocess(request: pytest.FixtureRequest) -> Environment:
    settings: Settings = request.getfixturevalue("project")
    return SubprocessRunner(grace=0.5), Images(settings.project).resolve("fleetml/ml")


def _warm(request: pytest.FixtureRequest) -> Environment:
    settings: Settings = request.getfixturevalue("project")
    return WarmRunner(grace=0.5), Images(settings.project).resolve("fleetml/ml")


def _docker(request: pytest.FixtureRequest) -> Environment:
    containers = request.getfixturevalue("containers")
    return containers.runner(), containers.image


def _kubernetes(request: pytest.FixtureRequest) -> Environment:
    """Against a stand-in for a cluster (tests/cluster): none can be had here."""
    cluster = request.getfixturevalue("cluster")
    cluster.secrets = {"given": {"key": "hush"}}
    from fleetml.runners.kubernetes import KubernetesRunner
    from tests.cluster import IMAGE

    return KubernetesRunner(grace=0.5), Image("fleetml/ml", Path(), reference=IMAGE, digest=IMAGE.rpartition("@")[2])


RUNNERS: dict[str, Callable[[pytest.FixtureRequest], Environment]] = {
    "subprocess": _subprocess,
    "warm": _warm,
    "docker": _docker,
    "kubernetes": _kubernetes,
}


@pytest.fixture(params=RUNNERS)
def environment(request: pytest.FixtureRequest) -> Environment:
    """A runner, and an image with a `python` for it."""
    return RUNNERS[request.param](request)


class Ran:
    def __init__(self, exit: Exit, lines: list[str]) -> None:
        self.exit, self.lines = exit, lines


@pytest.fixture
def go(environment: Environment, tmp_path: Path):
    """Return a function that runs Python code through the runner."""
    runner, image = environment

    def go(code: str, cancel: threading.Event | None = None, on_line=None, **known: object) -> Ran:
        lines: list[str] = []

        def hear(line: str) -> None:
            lines.append(line)
            if on_line:
                on_line(line)

        command = Command(("python", "-c", code), image, writable=(tmp_path,), **known)
        return Ran(runner.run(command, hear, cancel or threading.Event()), lines)

    return go


def alive(token: str) -> bool:
    """Whether a process has `token` on its command line; a zombie that nobody has reaped yet is not alive."""
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if token in " ".join(process.cmdline()) and process.status() != psutil.STATUS_ZOMBIE:
                return True
    return False


def child(token: str, **known: object) -> str:
    """Code that starts a process that would sleep for ten minutes."""
    given = "".join(f", {name}={value!r}" for name, value in known.items())
    return (
        "import subprocess, sys, time\n"
        f"subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)', {token!r}]{given})\n"
        "print('started', flush=True)\n"
    )


@pytest.fixture
def token() -> str:
    return uuid.uuid4().hex


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


def test_cancel_ends_the_command_and_its_children(go, token: str) -> None:
    cancel, seen = threading.Event(), []

    def started(line: str) -> None:
        seen.append(alive(token))
        cancel.set()

    ran = go(child(token) + "time.sleep(600)\n", cancel, on_line=started)
    assert ran.exit.ended == "cancelled"
    assert seen == [True]
    assert not alive(token)


def test_cancel_is_polite_first(go) -> None:
    cancel = threading.Event()
    code = (
        "import signal, time\n"
        "def leave(*_): print('bye', flush=True); raise SystemExit(7)\n"
        "signal.signal(15, leave)\nprint('ready', flush=True)\ntime.sleep(600)\n"
    )
    ran = go(code, cancel, on_line=lambda line: cancel.set())
    assert (ran.exit.status, ran.exit.ended, ran.lines) == (7, "cancelled", ["ready", "bye"])


def test_a_command_that_ignores_the_polite_signal_is_killed(go) -> None:
    cancel = threading.Event()
    code = "import signal, time\nsignal.signal(15, signal.SIG_IGN)\nprint('ready', flush=True)\ntime.sleep(600)\n"
    ran = go(code, cancel, on_line=lambda line: cancel.set())
    assert ran.exit.ended == "cancelled"
    assert ran.exit.status == -signal.SIGKILL


@pytest.mark.parametrize("known", [{}, {"start_new_session": True}], ids=["in its group", "in a session of its own"])
def test_children_left_behind_end_with_the_command(go, token: str, known: dict[str, object]) -> None:
    assert go(child(token, **known)).exit.succeeded
    assert not alive(token)


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
    code = "import os, tempfile; at = tempfile.gettempdir(); print('left' in os.listdir(at)); open(at + '/left', 'w')"
    assert [go(code).lines, go(code).lines] == [["False"], ["False"]]


def test_a_program_that_is_not_there_is_named(environment: Environment) -> None:
    runner, image = environment
    with pytest.raises(ConfigurationError, match="no-such-program"):
        runner.run(Command(("no-such-program",), image), print, threading.Event())


def test_what_it_writes_is_ours(go, tmp_path: Path) -> None:
    assert go(f"open({str(tmp_path / 'made')!r}, 'w').write('x')").exit.succeeded
    assert ((tmp_path / "made").read_text(), (tmp_path / "made").owner()) == ("x", tmp_path.owner())


def test_secrets_arrive_as_variables(go, environment: Environment) -> None:
    given: dict[str, object] = {"secrets": {"KEY": "hush"}}
    if getattr(environment[0], "refers_to_secrets", False):
        asked = {"secretName": "given", "keyToEnv": [{"secretKey": "key", "envVar": "KEY"}]}
        given = {"platform": {"secretAsEnv": [asked]}}
    assert go("import os; print(os.environ['KEY'])", **given).lines == ["hush"]


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


def test_a_line_that_does_not_end_comes_in_pieces(go) -> None:
    lines = go("import sys\nfor _ in range(40): sys.stdout.write('x' * 100_000)\nprint()\nprint('end')").lines
    assert sum(map(len, lines[:-1])) == 4_000_000
    assert max(map(len, lines)) < 400_000
    assert lines[-1] == "end"
