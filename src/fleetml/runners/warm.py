"""Runs the Python steps of an environment as forks of a server that has imported its libraries (docs/adr/0009)."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import sys
import threading
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from fleetml.frozen import field, frozen
from fleetml.runners import Command
from fleetml.runners.subprocess import Process, SubprocessRunner

if TYPE_CHECKING:
    import subprocess

_SERVER = Path(__file__).with_name("warm_server.py")
_PATIENCE = 60.0  # s until a server that forks nothing counts as broken
_LAST = 5.0  # s that a server may take to end
_LONGEST = 1024  # bytes of what a server says
_PYTHONS = ("python", "python3")
_CHANGES = ("pip", "venv", "ensurepip")  # what they do to the environment counts when Python starts


@frozen
class WarmRunner(SubprocessRunner):
    """A process per step as with `SubprocessRunner`, but forked from a server of its environment where that means the same.

    That is what starts as ``python -m MODULE`` or ``python -c CODE`` of the environment (so does a lightweight component of the
    KFP SDK, `fleetml.runners.lightweight`); a step with secrets and all else is started as ever. There is a server for each environment and each set of
    variables, for libraries read those when they are imported. They end with this object and with this process.
    """

    _servers: dict[tuple[Any, ...], _Server | None] = field(default_factory=dict, compare=False, repr=False)
    _lock: Any = field(default_factory=threading.Lock, compare=False, repr=False)

    def _process(self, command: Command, program: str, env: dict[str, str], folder: Path) -> Process:
        start = None if command.secrets or sys.platform != "linux" else _start(command, program, env)
        if start is not None and (server := self._server(command, start)):
            try:
                return server.fork(start, folder)
            except (ConnectionError, TimeoutError, EOFError):
                server.close()  # what becomes of the step alone is seen below; the next one gets a new server
        return super()._process(command, program, env, folder)

    def _server(self, command: Command, start: _Start) -> _Server | None:
        """Return the server for a step, None where none can be had."""
        key = (command.image.environment_digest(), start.program, *sorted(start.read_by_libraries.items()))
        with self._lock:
            server = self._servers.get(key)
            if key not in self._servers or (server and not server.is_alive()):
                try:
                    self._servers[key] = _Server(start)
                except OSError:
                    self._servers[key] = None
            return self._servers[key]


@frozen
class _Start:
    """What Python is to run: a module, or `code`; `argv` as it sees it, `words` as they were given."""

    program: str
    module: str
    code: str
    argv: tuple[str, ...]
    words: tuple[str, ...]
    env: Mapping[str, str]

    @property
    def read_by_libraries(self) -> dict[str, str]:
        """The variables that are the same in every step of a server: all but the folders of a step and our own."""
        own = ("TMPDIR", "PWD")
        return {name: value for name, value in self.env.items() if name not in own and not name.startswith("FLEETML_")}


def _start(command: Command, program: str, env: Mapping[str, str]) -> _Start | None:
    """Return how the environment's Python starts, None for a command that is not known to be its start."""
    argv = command.argv
    if argv[0] not in _PYTHONS or Path(program).parent != command.image.venv / "bin" or len(argv) < 3:
        return None
    words = argv[1:]
    if words[0] == "-m" and words[1] not in _CHANGES:
        return _Start(program, words[1], "", ("-m", *words[2:]), words, env)
    if words[0] == "-c":
        return _Start(program, "", words[1], ("-c", *words[2:]), words, env)
    return None


class _Server:
    """A server and our end of the connection that keeps it alive."""

    def __init__(self, start: _Start) -> None:
        import subprocess
        import tempfile

        from fleetml.runners import strays

        folder = strays.folder(Path(tempfile.gettempdir()))
        env = {**start.read_by_libraries, strays.MARK: str(folder)}
        folder.mkdir(0o700)
        for name in ("TMPDIR", "PWD"):
            (folder / name).mkdir()
            env[name] = str(folder / name)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            words = (str(theirs.fileno()), *filter(None, [start.module]))
            process = subprocess.Popen(  # not to die with this thread, which is a step's
                strays.marked(folder, start.program, str(_SERVER), *words),
                env=env,
                cwd=env["PWD"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
                pass_fds=[theirs.fileno()],
            )
        self._control = ours
        self._process = process
        self.close = weakref.finalize(self, _close, os.getpid(), ours, process, folder)

    def is_alive(self) -> bool:
        """Whether it can be asked for a step."""
        return self.close.alive and self._process.poll() is None

    def fork(self, start: _Start, folder: Path) -> _Forked:
        """Start a step. Raises ConnectionError, TimeoutError or EOFError when the server is no more, OSError when it
        can start no process."""
        from fleetml.runners import strays

        document = {
            "module": start.module,
            "code": start.code,
            "argv": start.argv,
            "orig_argv": start.words,
            "env": dict(start.env),
            "mark": strays.limit_of(folder),
        }
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        output, written = os.pipe()
        with theirs, open(os.memfd_create("step"), "wb") as sent, contextlib.ExitStack() as on_error:  # noqa: PTH123
            on_error.callback(ours.close)
            on_error.callback(os.close, output)
            try:
                sent.write(json.dumps(document).encode())
                sent.flush()
                socket.send_fds(self._control, [b"s"], [written, theirs.fileno(), sent.fileno()])
            finally:
                os.close(written)
            theirs.close()
            ours.settimeout(_PATIENCE)
            told = _told(ours)
            if "error" in told:
                raise OSError(told["error"], os.strerror(told["error"]))
            on_error.pop_all()
        ours.settimeout(None)
        return _Forked(told["pid"], open(output, "rb"), ours)  # noqa: PTH123


class _Forked:
    """A step that a server forked."""

    def __init__(self, pid: int, stdout: IO[bytes], channel: socket.socket) -> None:
        self.pid, self.stdout, self._channel = pid, stdout, channel

    def await_end(self) -> None:
        """See `fleetml.runners.subprocess.Process`."""
        with contextlib.suppress(ConnectionError):
            self._channel.recv(_LONGEST)

    def reap(self) -> tuple[int, float, int]:
        """See `fleetml.runners.subprocess.Process`; a step whose server is no more was killed with it."""
        with self._channel:
            try:
                self._channel.send(b"r")
                told = _told(self._channel)
            except (ConnectionError, EOFError):
                return -signal.SIGKILL, 0.0, 0
        return told["status"], told["cpu_seconds"], told["max_rss_bytes"]


def _told(channel: socket.socket) -> Any:
    told = channel.recv(_LONGEST)
    if not told:
        raise EOFError("a warm server ended")
    return json.loads(told)


def _close(owner: int, control: socket.socket, process: subprocess.Popen[bytes], folder: Path) -> None:
    """End a server and what it started, and wait for that."""
    import shutil
    import subprocess

    control.close()
    if os.getpid() != owner:  # a fork of ours, which has no say
        return
    try:
        process.wait(_LAST)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    shutil.rmtree(folder, ignore_errors=True)
