"""Runs a step as a process of its own, in the virtual environment of its image."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, TYPE_CHECKING, Protocol

from fleetml.errors import ConfigurationError, Unavailable
from fleetml.frozen import frozen, replace
from fleetml.runners import Command, Ended, Exit, Limits, Usage, out_of_memory
from fleetml.runners.output import Reader, lines_from

if TYPE_CHECKING:
    import subprocess

    from fleetml.cost.meters import Meter

# What a step gets of our own environment; the rest may hold secrets and stays here.
PASSED = (
    *("HOME", "USER", "LOGNAME", "LANG", "LANGUAGE", "LC_ALL", "LC_CTYPE", "TZ"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"),
    *("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "no_proxy", "all_proxy"),
    *("OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES", "LD_LIBRARY_PATH"),
)
_SYSTEM_PATH = "/usr/local/bin:/usr/bin:/bin"  # the same whoever starts the step
_LOOK = 0.05  # s between looks at cancel and limits; the end of the step itself is noticed at once


class Process(Protocol):
    """A step that was started: a session of its own, both streams into one pipe."""

    pid: int
    stdout: IO[bytes]

    def await_end(self) -> None:
        """Return when it has ended; it is left unreaped, so that nobody else gets its pid."""
        ...

    def reap(self) -> tuple[int, float, int]:
        """Return exit status (negative: signal), CPU seconds and peak RSS [bytes]; only once, of one that ended."""
        ...


@frozen
class SubprocessRunner:
    """One process group per step, with a TMPDIR and working folder of its own that are removed afterwards.

    Of `Limits` it enforces `seconds` and `memory` (resident, of the step all the time, with its children once a
    second; a step that the kernel kills for want of memory ended so too); `cpus` sets the number of threads of numerical libraries, it is no hard limit. `passed` names
    variables of our environment that steps get beside `PASSED`; `grace` is in seconds. Should the thread that
    called `run` die with its process, Linux kills the step. `environments` is where environments with the packages that a
    component installs itself are kept; without it such a component is refused.
    """

    passed: tuple[str, ...] = ()
    grace: float = 5.0
    environments: Path | None = None

    def run(self, command: Command, on_line: Callable[[str], None], cancel: threading.Event) -> Exit:
        """See `fleetml.runners.Runner`."""
        if command.resources.accelerator_count:
            from fleetml.runners import accelerators

            accelerators.require(command.resources, "the step")
        parts: list[Exit] = []  # what was run for the step: the installation of its packages costs too

        def call(part: Command) -> Exit:
            parts.append(self._in_folder(part, on_line, cancel))
            return parts[-1]

        try:
            exit = call(self._with_packages(command, call, on_line))
        except InterruptedError:
            exit = Exit(0, ended="cancelled")
        return replace(exit, usage=Usage.total(part.usage for part in parts))

    def _with_packages(
        self, command: Command, call: Callable[[Command], Exit], on_line: Callable[[str], None]
    ) -> Command:
        """Return the command in an environment that holds the packages its component installs."""
        if "pip install" not in " ".join(command.argv[2:3]):
            return command
        from fleetml.runners.packages import environment, split

        packages, argv = split(command.argv)
        if packages is None:
            return replace(command, argv=argv)
        if self.environments is None:
            raise ConfigurationError(
                f"packages_to_install ({', '.join(packages.requirements)}) are not installed here; "
                f"put them into the lock of image '{command.image.name}'"
            )
        image = environment(packages, command.image, self.environments, call, on_line)
        return replace(command, argv=argv, image=image)

    def _in_folder(self, command: Command, on_line: Callable[[str], None], cancel: threading.Event) -> Exit:
        import shutil  # here, as a run of cache hits starts no process
        import tempfile

        from fleetml.runners import strays

        place = Path(tempfile.gettempdir())
        strays.sweep(place)
        try:
            folder = strays.folder(place)
            folder.mkdir(0o700)
        except OSError as error:
            raise Unavailable(
                f"a step needs a temporary folder, {tempfile.gettempdir()} gives none: {error.strerror}"
            ) from error
        try:
            return self._run(command, folder, on_line, cancel)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _run(self, command: Command, folder: Path, on_line: Callable[[str], None], cancel: threading.Event) -> Exit:
        from fleetml.cost import meters  # here, as a run of cache hits measures nothing
        from fleetml.runners import strays

        started = time.monotonic()
        meter = meters.Meter(lambda: meters.family(process.pid))
        process = self._start(command, folder)
        reader = Reader(lines_from(process.stdout), on_line)
        over = threading.Event()
        threading.Thread(target=_announce, args=(process, over), daemon=True).start()
        ended: Ended = "itself"
        kills = out_of_memory.Kills()
        try:
            ended = self._watch(process.pid, over, reader, command.limits, cancel, kills, meter)
        finally:
            # Nothing of the step outlives it, however it ended. It is reaped last, so that its pid stays its own.
            _signal_group(process.pid, signal.SIGKILL)
            over.wait()
            status, cpu_seconds, max_rss_bytes = process.reap()
            if ended == "itself" and kills.ended(status):
                ended = "memory"
            strays.kill(folder)
            # A descendant that hid from us may hold the other end open: it is not waited for.
            if reader.finish():
                process.stdout.close()
        if reader.error:
            raise reader.error
        usage = Usage(cpu_seconds, max_rss_bytes, time.monotonic() - started, **meter.drawn(cpu_seconds))
        return Exit(status, usage, ended)

    def _start(self, command: Command, folder: Path) -> Process:
        import shutil

        from fleetml.runners import lightweight

        if command.own_entry:
            raise ConfigurationError(
                f"a process needs a command, the step of image '{command.image.name}' has none but its image's own; "
                "give it one, or take --runner docker"
            )
        try:
            command, env = lightweight.direct(command, self._environment(command, folder), folder)
        except OSError as error:
            raise Unavailable(
                f"a step's code cannot be written: {error.strerror}; free some space and resume"
            ) from error
        argv = command.argv
        program = shutil.which(argv[0], path=env["PATH"])
        if program is None:
            raise ConfigurationError(
                f"image '{command.image.name}' has no program '{argv[0]}' (looked in {env['PATH']}); "
                "correct the component's command or add the program to the image"
            )
        if not _is_program(Path(program)):
            raise ConfigurationError(
                f"'{argv[0]}' cannot be run: {program} is neither a binary nor a script that begins with #!; "
                "mend the component's command"
            )
        try:
            return self._process(command, program, env, folder)
        except OSError as error:
            if error.errno in (errno.ENOEXEC, errno.EACCES, errno.ENOENT, errno.E2BIG):
                raise ConfigurationError(
                    f"'{argv[0]}' cannot be run: {error.strerror}; mend the component's command"
                ) from error
            raise Unavailable(
                f"this machine starts no further process: {error.strerror}; free some and resume"
            ) from error

    def _process(self, command: Command, program: str, env: dict[str, str], folder: Path) -> Process:
        """Start `program`; `env` is all its environment. Raises OSError."""
        import subprocess

        from fleetml.runners import strays

        popen = subprocess.Popen(
            strays.marked(folder, *_dying_with_us(), program, *command.argv[1:]),
            env=env,
            cwd=env["PWD"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        return _Child(popen)

    def _environment(self, command: Command, folder: Path) -> dict[str, str]:
        from fleetml.runners import strays

        image = command.image
        env = {name: os.environ[name] for name in (*PASSED, *self.passed) if name in os.environ}
        env["PATH"] = f"{image.venv / 'bin'}:{_SYSTEM_PATH}"
        env["VIRTUAL_ENV"] = str(image.venv)
        env["PYTHONPATH"] = str(image.project)
        env["PYTHONUNBUFFERED"] = "1"
        for name, place in (("TMPDIR", folder / "tmp"), ("PWD", folder / "work")):
            place.mkdir()
            env[name] = str(place)
        if command.limits.cpus:
            env["OMP_NUM_THREADS"] = str(max(1, int(command.limits.cpus)))
        return {**env, **command.env, **command.secrets, strays.MARK: str(folder)}

    def _watch(
        self,
        pid: int,
        over: threading.Event,
        reader: Reader,
        limits: Limits,
        cancel: threading.Event,
        kills: out_of_memory.Kills,
        meter: Meter,
    ) -> Ended:
        """Wait for the end; stop the step on a cancel, at a limit, or when its output cannot be taken any more."""
        started = looked = time.monotonic()
        while not over.wait(_LOOK):
            now = time.monotonic()
            if cancel.is_set() or reader.error:
                return self._stop(pid, over, "cancelled")
            if limits.seconds is not None and now - started > limits.seconds:
                return self._stop(pid, over, "timeout")
            if limits.memory is not None and out_of_memory.resident(pid) > limits.memory:
                return self._stop(pid, over, "memory")
            if now - looked >= 1:
                looked = now
                kills.look()
                meter.look()
                if limits.memory is not None and out_of_memory.family(pid) > limits.memory:
                    return self._stop(pid, over, "memory")
        return "itself"

    def _stop(self, pid: int, over: threading.Event, why: Ended) -> Ended:
        _signal_group(pid, signal.SIGTERM)
        over.wait(self.grace)
        return why


class _Child:
    """A child of this process."""

    def __init__(self, popen: subprocess.Popen[bytes]) -> None:
        self.pid, self._popen = popen.pid, popen
        self.stdout: IO[bytes] = popen.stdout  # type: ignore[assignment]  # it has one

    def await_end(self) -> None:
        """See `Process`."""
        if sys.platform == "darwin":
            import psutil

            while psutil.Process(self.pid).status() != psutil.STATUS_ZOMBIE:
                time.sleep(_LOOK)
        else:
            os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)

    def reap(self) -> tuple[int, float, int]:
        """See `Process`."""
        _, status, used = os.wait4(self.pid, 0)
        self._popen.returncode = os.waitstatus_to_exitcode(status)
        unit = 1 if sys.platform == "darwin" else 1024
        return self._popen.returncode, used.ru_utime + used.ru_stime, used.ru_maxrss * unit


def _announce(process: Process, over: threading.Event) -> None:
    process.await_end()
    over.set()


def _dying_with_us() -> tuple[str, ...]:
    """Return what has Linux kill a command when the thread that starts it dies."""
    from fleetml.runners import strays

    setpriv = strays.tool("setpriv")
    return (setpriv, "--pdeathsig", "KILL", "--") if setpriv else ()


def _is_program(path: Path) -> bool:
    with path.open("rb") as content:
        begin = content.read(4)
    return begin == b"\x7fELF" or begin[:2] == b"#!" or sys.platform != "linux"


def _signal_group(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)
