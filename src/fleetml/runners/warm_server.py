"""The warm server of an environment: imports third-party code once and forks a process for each step (docs/adr/0009).

A script that the environment's own Python runs for `fleetml.runners.warm`. Standard library only, and one file for that reason:
none of our code may be loaded before the process of a step loads it. It ends, and its steps with it, when the connection of its engine does.

A step comes as three descriptors: where its output goes, a channel of its own, and a file with the rest. On the channel
its PID is told, then that it ended (b"e"); it is reaped when the runner asks for it (b"r"), which gives status and usage.
"""

from __future__ import annotations

import atexit
import ctypes
import errno  # noqa: F401 (as pathlib: what `fleetml.component` needs)
import gc
import importlib.util
import io
import json
import os
import pathlib  # noqa: F401
import resource
import runpy
import select
import signal
import socket
import sys
import time
import types
import weakref
from collections.abc import Callable, Iterable, Set
from contextlib import suppress
from typing import Any, NoReturn

_LIBC = ctypes.CDLL(None)  # before a fork, after which importing takes time
_PR_SET_PDEATHSIG = 1
_RTTIME = 15  # see fleetml.runners.strays
_INSTALLED = ("/site-packages/", "/dist-packages/")
_OURS = "fleetml"  # installed like a library where somebody wants it so
_FORK_SAFE = "jemalloc_bg_thd"  # of an allocator that takes care of forks itself
_LONGEST = 1 << 20  # bytes of a list of modules
_FILES = (io.TextIOWrapper, io.BufferedWriter, io.BufferedRandom)


class Step:
    """A process that was forked: `channel` leads to its runner, `handle` is its pidfd, 0 once it has ended."""

    def __init__(self, pid: int, channel: socket.socket) -> None:
        self.pid, self.channel, self.handle = pid, channel, os.pidfd_open(pid)


class Forked(BaseException):
    """Raised in the process of a step, so that it leaves the server's loop; holds what it is to run."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.document = document


class Server:
    """Forks steps until one that knows more libraries takes over.

    What a step imported from the environment is imported in a fork of the server, aside from the steps; that one serves
    from then on if it is fit for it: no thread in it, and nothing of the project's own code. Else it is left, and the
    package that made it so is not tried again.
    """

    def __init__(self, control: socket.socket) -> None:
        self.control = control
        self.reports, self.report = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.steps: set[Step] = set()
        self.refused = {_OURS}  # packages
        self.tried: set[str] = set()  # modules
        self.successor = 0
        self.told: socket.socket | None = None  # by the successor, as long as it is getting ready
        self.retired = False
        self.watched: dict[int, Callable[[], None]] = {}
        self.poll = select.poll()
        self._watch(control, self._take)
        self._watch(self.reports, self._learn)
        gc.freeze()  # what is shared stays shared: the collector would write to each object

    def serve(self) -> NoReturn:
        """Serve until the connection ends. Raises Forked in each step's process."""
        while not (self.retired and not self.steps):
            number, _ = self.poll.poll()[0]  # one at a time: it may close another, and open one of the same number
            self.watched[number]()
        self._leave()

    def grow(self, names: list[str], wait: bool = False) -> None:
        """Have a fork of the server import modules; `wait` until it is known whether that one is fit."""
        self.told, told = socket.socketpair()
        parent = os.getpid()
        self.successor = os.fork()
        if self.successor:
            told.close()
            mine = self.told
            self._watch(mine, lambda: self._grown(mine, names))
            if wait:
                self._grown(mine, names)
            return
        _die_with(parent)
        self._let_go()
        refused = _import(names, self.refused)
        told.send(refused.encode() or b"\n")
        told.close()
        if refused:
            os._exit(0)
        self.tried |= set(names)
        gc.freeze()

    def _watch(self, source: socket.socket | int, then: Callable[[], None]) -> None:
        number = source if isinstance(source, int) else source.fileno()
        self.watched[number] = then
        self.poll.register(number, select.POLLIN)

    def _unwatch(self, *sources: socket.socket | int) -> None:
        for source in sources:
            number = source if isinstance(source, int) else source.fileno()
            if self.watched.pop(number, None):
                self.poll.unregister(number)
            os.close(number) if isinstance(source, int) else source.close()

    def _take(self) -> None:
        """Fork the next step."""
        try:
            message, descriptors, _, _ = socket.recv_fds(
                self.control, 1, 3, socket.MSG_DONTWAIT | socket.MSG_CMSG_CLOEXEC
            )
        except BlockingIOError:  # another generation was faster
            return
        except ConnectionError:
            message = b""
        if not message:
            self._leave()
        output, end, document = descriptors
        parent, channel = os.getpid(), socket.socket(fileno=end)
        try:
            pid = os.fork()
        except OSError as error:
            channel.send(json.dumps({"error": error.errno}).encode())
            channel.close()
        else:
            if not pid:
                self._become(parent, output, channel, document)
            step = Step(pid, channel)
            self.steps.add(step)
            self._watch(step.handle, lambda: self._ended(step))
            self._watch(channel, lambda: self._asked(step))
        os.close(output)
        os.close(document)

    def _become(self, parent: int, output: int, channel: socket.socket, document: int) -> NoReturn:
        """Become the process of a step."""
        os.setsid()
        _die_with(parent)
        self._let_go()
        self._unwatch(self.control, self.reports)
        with open(document, "rb") as stream:
            stream.seek(0)
            told = json.load(stream)
        with suppress(ValueError, OSError):  # a lower limit is set here already; the variable is left
            resource.setrlimit(_RTTIME, (told["mark"], resource.getrlimit(_RTTIME)[1]))
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.close(output)
        channel.send(json.dumps({"pid": os.getpid()}).encode())
        channel.close()
        atexit.register(self._report, os.getpid(), set(sys.modules))
        raise Forked(told)

    def _report(self, pid: int, known: set[str]) -> None:
        """At the end of a step: tell the server what it imported of the environment and of the standard library."""
        if os.getpid() != pid:  # a fork of the step
            return
        found = [
            name for name, module in list(sys.modules.items()) if name not in known and _is_python_s(_file(module))
        ]
        if found:
            with suppress(OSError):
                self.report.send(json.dumps(found).encode(), socket.MSG_DONTWAIT)

    def _learn(self) -> None:
        """Let a successor import what a step had to import by itself."""
        with suppress(BlockingIOError):
            names = json.loads(self.reports.recv(_LONGEST, socket.MSG_DONTWAIT))
            if not self.told and any(name not in self.tried and _top(name) not in self.refused for name in names):
                self.grow(names)

    def _grown(self, told: socket.socket, names: list[str]) -> None:
        """Retire for a successor that is ready, or remember why it was not fit."""
        refused = told.recv(256).decode()
        self._unwatch(told)
        self.told = None
        if refused == "\n":
            self.retired = True
            self._unwatch(self.control, self.reports)
            return
        os.waitpid(self.successor, 0)
        self.refused |= {refused} if refused else {_top(name) for name in names}  # one that died did not say of what
        self.successor = 0

    def _ended(self, step: Step) -> None:
        self._unwatch(step.handle)
        step.handle = 0
        with suppress(OSError):
            step.channel.send(b"e")

    def _asked(self, step: Step) -> None:
        """Reap a step whose runner wants it, or is gone."""
        try:
            asked = step.channel.recv(1)
        except OSError:
            asked = b""
        if not asked:
            _kill(step.pid)
        _, status, used = os.wait4(step.pid, 0)
        told = {
            "status": os.waitstatus_to_exitcode(status),
            "cpu_seconds": used.ru_utime + used.ru_stime,
            "max_rss_bytes": used.ru_maxrss * 1024,
        }
        with suppress(OSError):
            step.channel.send(json.dumps(told).encode())
        self._forget(step)
        self.steps.remove(step)

    def _forget(self, step: Step) -> None:
        self._unwatch(step.channel, *([step.handle] if step.handle else []))

    def _let_go(self) -> None:
        """In a fork: close what belongs to the steps of the server."""
        for step in self.steps:
            self._forget(step)
        self.steps = set()
        if self.told:
            self._unwatch(self.told)
            self.told = None
        self.successor = 0

    def _leave(self) -> NoReturn:
        for step in self.steps:
            _kill(step.pid)
        if self.told:
            os.kill(self.successor, signal.SIGKILL)
        if self.successor:  # who has a successor that serves leaves with it
            os.waitpid(self.successor, 0)
        os._exit(0)


def _die_with(parent: int) -> None:
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it died before we asked
        os._exit(1)


def _kill(pid: int) -> None:
    for kill in (os.killpg, os.kill):  # it may have no group yet
        with suppress(OSError):
            kill(pid, signal.SIGKILL)


def _top(name: str) -> str:
    return name.partition(".")[0]


def _is_installed(place: str) -> bool:
    return any(folder in f"{place}/" for folder in _INSTALLED)


def _is_python_s(place: str) -> bool:
    return _is_installed(place) or place.startswith(os.path.dirname(os.__file__))  # noqa: PTH120


def _file(module: object) -> str:
    return getattr(module, "__file__", None) or ""


def _import(names: Iterable[str], refused: set[str]) -> str:
    """Import what is the environment's or Python's; return the package that makes a server unfit, "" if there is none."""
    for name in names:
        if name in sys.modules or _top(name) in refused or not _is_no_project_s(_top(name)):
            continue
        known = set(sys.modules)
        with suppress(Exception):  # a step may have prepared for it
            importlib.import_module(name)
        if _has_threads() or any(map(_is_project_s, sys.modules.keys() - known)):
            return _top(name)
    return ""


def _is_project_s(name: str) -> bool:
    file = _file(sys.modules[name])
    # torch names files of modules that it makes up, without a folder; multiprocessing knows this script by a second name.
    return file.startswith("/") and file != __file__ and not _is_python_s(file)


def _is_no_project_s(top: str) -> bool:
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return False
    places = [spec.origin or "", *(spec.submodule_search_locations or ())] if spec else []
    return any(map(_is_python_s, places))


def _has_threads() -> bool:
    """Say whether a fork would leave threads behind: those that a library ends before a fork (OpenBLAS) are none."""
    if not _threads():
        return False
    if not (trial := os.fork()):
        os._exit(0)
    os.waitpid(trial, 0)
    for _ in range(20):  # the system may list one for a moment after its end
        if not _threads():
            return False
        time.sleep(0.005)
    return True


def _threads() -> list[str]:
    found = []
    for task in os.listdir("/proc/self/task"):  # noqa: PTH208
        with suppress(OSError), open(f"/proc/self/task/{task}/comm") as stream:  # noqa: PTH123
            if int(task) != os.getpid() and stream.read().strip() != _FORK_SAFE:
                found.append(task)
    return found


def _run(document: dict[str, Any]) -> None:
    """Run a step as ``python -m`` or ``python -c`` would."""
    os.chdir(document["env"]["PWD"])
    os.environ.clear()
    os.environ.update(document["env"])
    _renew()
    main = sys.modules["__main__"] = types.ModuleType("__main__")
    if "__mp_main__" in sys.modules:
        sys.modules["__mp_main__"] = main
    sys.argv[:] = document["argv"]
    sys.orig_argv[:] = [sys.executable, *document["orig_argv"]]
    if not sys.flags.safe_path:
        sys.path.insert(0, os.getcwd() if document["module"] else "")  # noqa: PTH109
    known = {id(module) for name, module in sys.modules.items() if name != "__main__"}
    try:
        if document["module"]:
            main.__dict__["__builtins__"] = __builtins__
            sys.modules.pop(document["module"], None)
            runpy._run_module_as_main(document["module"])  # type: ignore[attr-defined]
        else:
            exec(compile(document["code"], "<string>", "exec"), main.__dict__)  # noqa: S102
    except SystemExit as end:
        if end.code not in (None, 0):
            raise
    except Exception as error:
        trace = error.__traceback__
        while trace and trace.tb_frame.f_code.co_filename == __file__:
            trace = trace.tb_next
        sys.excepthook(type(error), error.with_traceback(trace), trace)
        sys.exit(1)
    del main
    _end(known)


def _end(known: Set[int]) -> None:
    """End a step that went well as Python would, but for the modules that were there before it (`known`, their ids).

    Python takes all of it apart, and so copies each page that is shared with the server: several times the work of a small
    step. What the step made ends here as it does there: callbacks, its modules, its files. Returns where Python had better
    do it: another thread runs, or what was printed cannot be written.
    """
    if len(sys._current_frames()) > 1:
        return
    atexit._run_exitfuncs()
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except Exception:  # what stands in their place is the step's
        return
    _write_out()  # the collector may end what a file writes to before the file
    _take_apart(known)
    _write_out()
    ctypes.PyDLL(None).exit(0)


def _write_out() -> None:
    """Flush each file, also those that a library holds; of what is frozen none is the step's."""
    for file in gc.get_objects():
        if type(file) in _FILES:
            with suppress(OSError, ValueError):
                file.flush()


def _take_apart(known: Set[int]) -> None:
    """Forget the modules that are not `known`, then clear those that live on: the last first, private names first, as Python does."""
    names = [name for name, module in sys.modules.items() if id(module) not in known]
    forgotten = (sys.modules.pop(name) for name in names)
    # By their type: libraries of cffi say that they are modules, and nothing can refer to them weakly
    left = [weakref.ref(module) for module in forgotten if issubclass(type(module), types.ModuleType)]
    del forgotten
    gc.collect()
    for module in filter(None, (reference() for reference in reversed(left))):
        for name in sorted(vars(module), key=lambda name: not name.startswith("_")):
            if name != "__builtins__":
                vars(module)[name] = None
    gc.collect()


def _renew() -> None:
    """Make new what a process has of its own: Python's `random` does so itself."""
    for place in sys.path:
        if not _is_python_s(place):  # files may have come since
            sys.path_importer_cache.pop(place, None)
    if tempfile := sys.modules.get("tempfile"):
        tempfile.tempdir = None  # type: ignore[attr-defined]
    if numpy := sys.modules.get("numpy.random"):
        numpy.seed()
    if torch := sys.modules.get("torch"):  # begins with the same state in every process
        torch.default_generator.manual_seed(torch.default_generator.initial_seed())


def main(descriptor: str, *modules: str) -> None:
    """Serve at an inherited socket; import `modules`, where they are the environment's, before the first step."""
    if not sys.flags.safe_path:
        del sys.path[0]  # our own folder
    with socket.socket(fileno=int(descriptor)) as control:
        control.set_inheritable(False)
        server = Server(control)
        try:
            if any(_is_no_project_s(_top(name)) for name in modules):
                server.grow(list(modules), wait=True)
            server.serve()
        except Forked as forked:
            document = forked.document
    _run(document)


if __name__ == "__main__":
    main(*sys.argv[1:])
