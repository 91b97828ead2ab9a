"""What only the warm runner does: a step is a fork of a server, and sees no difference."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
import yaml

from fleetml.images import Image, Images
from fleetml.runners import Command, Exit, Runner
from fleetml.runners.subprocess import SubprocessRunner
from fleetml.runners.warm import WarmRunner
from fleetml.settings import Settings
from fleetml.stack.processes import wait_until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="servers are for Linux, steps start as ever elsewhere")

PIPELINES = Path(__file__).parents[1] / "pipelines"
Lines = Callable[..., list[str]]
PARENT = "import os; print(os.getppid())"
# What a step can see of how it was started, but for the folders of its own.
ENDS = """
import atexit, logging.handlers, sys, weakref, threading
import ends_too
class Told:
    def __init__(self, name): self.name = name
    def __del__(self): print("gone", self.name, file=sys.__stdout__, flush=True)
held, ends_too.held = Told("main"), Told("module")
ring = [Told("ring")]; ring.append(ring)
atexit.register(print, "left")
weakref.finalize(held, print, "finalized")
kept, logging.kept = open("kept.txt", "w"), open("library.txt", "w")
kept.write("kept"); logging.kept.write("library")
memory = logging.handlers.MemoryHandler(10, target=logging.FileHandler("log.txt"))
logging.getLogger().addHandler(memory); logging.warning("last words")
def last():
    threading.main_thread().join(); print("thread")
threading.Thread(target=last).start() if len(sys.argv) > 1 else None
sys.stdout.write("no line end")
"""
SEEN = """
import json, os, resource, signal, sys, threading
main = sys.modules["__main__"]
told = {
    "argv": sys.argv, "orig_argv": sys.orig_argv[1:], "path": [p.replace(os.getcwd(), "") for p in sys.path],
    "flags": repr(sys.flags), "prefix": sys.prefix, "executable": os.path.realpath(sys.executable),
    "name": __name__, "spec": getattr(main.__spec__, "name", None), "main": main.__dict__ is globals(),
    "cwd": os.getcwd() == os.environ["PWD"], "leads": os.getsid(0) == os.getpid() == os.getpgid(0),
    "files": sorted(os.listdir("/proc/self/fd"))[:4], "stdin": sys.stdin.read(), "folder": os.listdir("."),
    "env": {n: v for n, v in os.environ.items() if n not in ("PWD", "TMPDIR", "FLEETML_STEP")},
    "signals": [str(signal.getsignal(number)) for number in (1, 2, 13, 15, 17)], "umask": os.umask(0),
    "mark": resource.getrlimit(15)[0] > 0, "threads": threading.active_count(),
}
print(json.dumps(told))
"""


def run(runner: Runner, image: Image, *argv: str, **known: object) -> tuple[Exit, list[str]]:
    found: list[str] = []
    command = Command(argv, image, **known)  # type: ignore[arg-type]
    return runner.run(command, found.append, threading.Event()), found


@pytest.fixture
def image(project: Settings) -> Image:
    return Images(project.project).resolve("fleetml/ml")


@pytest.fixture
def warm() -> WarmRunner:
    return WarmRunner(grace=0.5)


@pytest.fixture
def python(warm: WarmRunner, image: Image) -> Lines:
    """Return a function that runs code in a warm step that must succeed, and returns its lines."""

    def python(code: str, image: Image = image, **known: object) -> list[str]:
        exit, lines = run(warm, image, "python", "-c", code, **known)
        assert exit.succeeded, lines
        return lines

    return python


@pytest.fixture
def small(image: Image, tmp_path: Path) -> Image:
    """An environment with packages that a test writes into it (`site`)."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "venv")], check=True)
    return replace(image, venv=tmp_path / "venv")


def site(image: Image) -> Path:
    (found,) = image.venv.glob("lib/python*/site-packages")
    return found


def test_steps_of_an_environment_are_forks_of_one_server(python: Lines) -> None:
    parents = {python(PARENT)[0] for _ in range(3)}
    assert len(parents) == 1
    assert parents != {str(os.getpid())}


def test_what_is_no_start_of_the_environments_python_is_started_as_ever(warm: WarmRunner, image: Image) -> None:
    def parent(*argv: str, **known: object) -> str:
        return run(warm, image, *argv, **known)[1][0]

    assert parent("python", "-c", PARENT) != str(os.getpid())
    assert parent("python", "-I", "-c", PARENT) == str(os.getpid())
    assert parent(sys.executable, "-c", PARENT) == str(os.getpid())
    assert parent("sh", "-c", "echo $PPID") == str(os.getpid())
    assert parent("python", "-c", PARENT, secrets={"KEY": "hush"}) == str(os.getpid())


@pytest.mark.parametrize("way", ["-c", "-m"])
def test_a_step_sees_no_difference(warm: WarmRunner, image: Image, way: str) -> None:
    (image.project / "looks.py").write_text(SEEN)
    argv = ("python", way, SEEN if way == "-c" else "looks", "a word", "--flag")
    env = {"MINE": "häß", "PYTHONHASHSEED": "1"}
    told = [json.loads(run(it, image, *argv, env=env)[1][-1]) for it in (SubprocessRunner(), warm, warm)]
    assert told[1] == told[0]
    assert told[2] == told[0]
    assert told[0]["env"]["MINE"] == "häß"


def test_an_error_is_told_alike(warm: WarmRunner, image: Image) -> None:
    (image.project / "fails.py").write_text("def fail():\n    raise ValueError('no')\nfail()\n")
    for argv in (("-m", "fails"), ("-m", "missing"), ("-c", "1 / 0"), ("-c", "1 +"), ("-c", "raise SystemExit('why')")):
        plain, forked = (run(it, image, "python", *argv) for it in (SubprocessRunner(), warm))
        assert (forked[0].status, forked[1]) == (plain[0].status, plain[1])


@pytest.mark.parametrize("more", [(), ("threads",)])
@pytest.mark.parametrize("last", ["", "sys.exit()", "sys.exit(0)", "sys.exit(3)", "raise KeyError(1)"])
def test_a_step_ends_as_python_does(
    warm: WarmRunner, image: Image, tmp_path: Path, last: str, more: tuple[str, ...]
) -> None:
    (image.project / "ends_too.py").write_text("")
    told = []
    for runner in (SubprocessRunner(), warm):
        folder = tmp_path / type(runner).__name__
        folder.mkdir()
        exit, lines = run(runner, image, "python", "-c", f"import os; os.chdir({str(folder)!r}){ENDS}{last}", *more)
        files = {path.name: path.read_text() for path in folder.iterdir()}
        told.append((exit.status, sorted(line for line in lines if not line.startswith("  File")), files))
    assert told[1] == told[0]
    assert told[0][2]["kept.txt"] == "kept"


def test_a_step_without_an_output_ends_well(warm: WarmRunner, image: Image) -> None:
    assert run(warm, image, "python", "-c", "import sys; sys.stdout = None")[0].succeeded


def test_a_library_that_passes_for_a_module_ends_well(warm: WarmRunner, image: Image) -> None:
    """As those of cffi do, to which nothing can refer weakly."""
    code = "class Lib:\n    __slots__ = ()\n    __class__ = property(lambda self: type(sys))\nimport sys; sys.modules['made.lib'] = Lib()\n"
    exit, lines = run(warm, image, "python", "-c", code)
    assert exit.succeeded, lines


def test_random_numbers_are_a_step_s_own(python: Lines) -> None:
    code = "import random, numpy.random as n; print(random.random()); print(n.random())"
    python(code)
    assert wait_until(lambda: "True" in python("import sys; print('numpy.random' in sys.modules)"), 60)
    drawn = [number for _ in range(3) for number in python(code)]
    assert len(set(drawn)) == 6


def test_code_of_the_project_is_never_loaded_before(python: Lines, image: Image) -> None:
    (image.project / "late.py").write_text("WORD = 'one'\n")
    assert python("import late, yaml; print(late.WORD)") == ["one"]
    assert wait_until(lambda: python("import sys; print('yaml' in sys.modules)") == ["True"], 60)
    (image.project / "late.py").write_text("WORD = 'two, and longer'\n")
    assert python("import sys; print('late' in sys.modules, 'fleetml' in sys.modules)") == ["False False"]
    assert python("import late; print(late.WORD)") == ["two, and longer"]


def test_a_library_that_a_fork_would_break_is_left_to_the_steps(python: Lines, small: Image) -> None:
    (site(small) / "threaded.py").write_text(
        "import threading, time\nthreading.Thread(target=time.sleep, args=(600,), daemon=True).start()\n"
    )
    (site(small) / "plugins.py").write_text("import shared\n")  # code of the project
    (site(small) / "fine.py").write_text("")
    for name in ("threaded", "plugins", "fine"):
        python(f"import {name}", small)
    assert wait_until(
        lambda: (
            (python("import fine", small), python("import sys; print('fine' in sys.modules)", small))[1] == ["True"]
        ),
        60,
    )
    code = "import sys, threading; print('threaded' in sys.modules, 'shared' in sys.modules, threading.active_count())"
    assert python(code, small) == ["False False 1"]


def test_a_library_that_makes_modules_up_is_fit(python: Lines, small: Image) -> None:
    """As torch does, whose modules name files that are nowhere."""
    code = "import multiprocessing, sys, types\nsys.modules['made.up'] = types.ModuleType('made.up')\nsys.modules['made.up'].__file__ = '_up.py'\n"
    (site(small) / "made.py").write_text(code)
    told = "import sys; before = 'made' in sys.modules; import made; print(before)"
    assert wait_until(lambda: python(told, small) == ["True"], 60)


def test_a_library_that_ends_the_process_harms_no_other(python: Lines, small: Image) -> None:
    (site(small) / "deadly.py").write_text("import os, sys\nif 'trigger' not in sys.modules: os._exit(1)\n")
    code = "import sys; sys.modules['trigger'] = sys; import deadly; print('done')"
    assert [python(code, small) for _ in range(3)] == [["done"]] * 3


def test_libraries_see_the_variables_of_their_step_when_they_are_imported(python: Lines, small: Image) -> None:
    (site(small) / "reads.py").write_text("import os\nWORD = os.environ.get('WORD')\n")
    code = "import sys; before = 'reads' in sys.modules; import reads; print(before, reads.WORD)"
    assert wait_until(lambda: python(code, small, env={"WORD": "a"}) == ["True a"], 60)
    assert python(code, small, env={"WORD": "b"}) == ["False b"]


def test_a_component_of_the_kfp_sdk_is_a_fork_too(warm: WarmRunner, image: Image, tmp_path: Path) -> None:
    """The command as kfp compiled it, with other code."""
    executors = yaml.safe_load((PIPELINES / "strangers.yaml").read_text())["deploymentSpec"]["executors"]
    command = executors["exec-add"]["container"]["command"]
    code = (
        "import os, sys\ndef parent(word: str) -> str:\n"
        "    print(os.getppid(), word, sys.argv[1], os.environ['_KFP_RUNTIME'])\n    return word\n"
    )
    outputs = {
        "parameters": {"Output": {"outputFile": str(tmp_path / "word")}},
        "outputFile": str(tmp_path / "out.json"),
    }
    given = json.dumps({"inputs": {"parameterValues": {"word": "hello"}}, "outputs": outputs})
    argv = (*command[:3], code, "--executor_input", given, "--function_to_execute", "parent")
    exit, lines = run(warm, image, *argv)
    assert exit.succeeded, lines
    told = next(line for line in lines if " hello " in line).split()
    assert told[0] != str(os.getpid())
    assert told[1:] == ["hello", "--component_module_path", "true"]
    assert json.loads((tmp_path / "out.json").read_text())["parameterValues"] == {"Output": "hello"}
    assert run(warm, image, "python", "-c", "import sys; print('kfp' in sys.modules)")[1] == ["False"]  # another server


def test_a_hundred_at_once_are_each_told_truly(warm: WarmRunner, image: Image) -> None:
    def status(number: int) -> int:
        return run(warm, image, "python", "-c", f"raise SystemExit({number})")[0].status

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(status, range(100))) == list(range(100))


def test_the_server_ends_with_its_runner_and_leaves_nothing(image: Image) -> None:
    runner = WarmRunner()
    server = psutil.Process(int(run(runner, image, "python", "-c", PARENT)[1][0]))
    folder = Path(server.environ()["PWD"]).parent
    assert folder.stat().st_mode & 0o777 == 0o700
    del runner
    assert wait_until(lambda: not server.is_running(), 60)
    assert not folder.exists()


def test_what_becomes_of_a_step_whose_server_is_killed(warm: WarmRunner, image: Image) -> None:
    exit, _ = run(warm, image, "python", "-c", "import os, time; os.kill(os.getppid(), 9); time.sleep(600)")
    assert (exit.status, exit.succeeded) == (-signal.SIGKILL, False)
    assert run(warm, image, "python", "-c", "print('again')")[1] == ["again"]


def test_server_and_steps_die_with_an_engine_that_is_killed(project: Settings, tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    step = f"import os, time\nopen({str(fifo)!r}, 'w').write(f'{{os.getpid()}} {{os.getppid()}}')\ntime.sleep(600)\n"
    engine = (
        "import threading; from pathlib import Path; from fleetml.images import Images\n"
        "from fleetml.runners import Command; from fleetml.runners.warm import WarmRunner\n"
        f"image = Images(Path({str(project.project)!r})).resolve('fleetml/ml')\n"
        f"WarmRunner().run(Command(('python', '-c', {step!r}), image), print, threading.Event())\n"
    )
    with subprocess.Popen([sys.executable, "-c", engine]) as going:
        pids = [int(pid) for pid in fifo.read_text().split()]
        assert going.pid not in pids
        going.kill()
    assert wait_until(lambda: not any(map(_is_going, pids)), 60)


def _is_going(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
