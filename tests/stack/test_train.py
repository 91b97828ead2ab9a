"""The real stack in a checkout of its own (with spaces in its path), and `fleetml train` as a user meets it."""

import json
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fleetml.compiler import compile_pipeline
from fleetml.records import Run, runs
from fleetml.serving import deployment
from fleetml.settings import Settings
from fleetml.stack import processes, state
from fleetml.stack.runs import connect

pytestmark = pytest.mark.e2e
ROOT = Path(__file__).parents[2]
SMALL = '''
from kfp import dsl

CODE = """
import sys, time
mode, target, out = sys.argv[1:]
print("mode", mode, flush=True)
if mode == "fail":
    raise ValueError("no rows left in the table")
if mode == "hang":
    time.sleep(600)
open(out, "w").write(target + "!")
"""


@dsl.container_component
def work(mode: str, target: str, out: dsl.OutputPath(str)):
    return dsl.ContainerSpec(image="fleetml/ml", command=["python", "-c", CODE], args=[mode, target, out])


@dsl.pipeline(name="small", display_name="Small")
def small(mode: str = "ok", target: str = "bandwidth", source: str = "", mapping: str = "", seed: int = 0):
    first = work(mode="ok", target=target).set_display_name("First")
    work(mode=mode, target=first.outputs["out"]).set_display_name("Second")
'''


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory):
    """A project with one small pipeline, in the environments of this one."""
    folder = tmp_path_factory.mktemp("e2e") / "a checkout with spaces"
    (folder / "images").mkdir(parents=True)
    shutil.copytree(ROOT / "images", folder / "images", dirs_exist_ok=True)
    (folder / ".venv").symlink_to(ROOT / ".venv")
    (folder / "src").symlink_to(ROOT / "src")
    (folder / "dags" / "small").mkdir(parents=True)
    for file in ("fleetml_dags.py", "fleetml_errors.py"):
        shutil.copy(ROOT / "dags" / file, folder / "dags")
    (folder / "dags" / "small" / "pipeline.py").write_text(SMALL)
    compile_pipeline(folder / "dags" / "small" / "pipeline.py")
    (folder / "dags" / "small" / "triggers.yaml").write_text(
        "defaults: {source: '${FLEETML_SOURCE}', mapping: '${FLEETML_MAPPING}', target: '${FLEETML_TARGET}'}\n"
    )
    yield folder
    _fleetml(folder, "down")


def _environment(folder: Path) -> dict[str, str]:
    own = {name: value for name, value in os.environ.items() if not name.startswith(("FLEETML_", "AIRFLOW_"))}
    return {**own, "FLEETML_PROJECT": str(folder)}


def _command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "fleetml", *arguments]


def _fleetml(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        _command(*arguments), cwd=folder, env=_environment(folder), capture_output=True, text=True, timeout=300,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip


def _home(folder: Path) -> Path:
    return folder / ".fleetml"


def test_a_bad_run_is_refused_before_anything_is_started(checkout):
    for arguments, said in (
        (["--data", "no/such.csv"], "no/such.csv does not exist"),
        (["--target", "cpus"], "target must be one of bandwidth, cpu,"),
        (["-p", "mod=ok"], "no parameter 'mod'; did you mean 'mode'"),
        (["-p", "mode"], "NAME=VALUE"),
        (["-p", "mode=ok", "-p", "seed=x"], "'seed' must be"),
    ):
        refused = _fleetml(checkout, "train", "dags/small", *arguments)
        assert refused.returncode == 2
        assert said in refused.stderr
        assert "Traceback" not in refused.stderr
    assert _fleetml(checkout, "train", "dags/none").returncode == 2
    assert state.read(_home(checkout)) is None


def test_a_run_is_shown_step_by_step_and_its_places_are_told(checkout):
    done = _fleetml(checkout, "train", "dags/small", "--target", "cpu")
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^ *\d+\.\d s  First +succeeded +\d", done.stdout, re.M)
    assert re.search(r"^ *\d+\.\d s  Second +succeeded +\d", done.stdout, re.M)
    assert "run succeeded" in done.stdout
    assert "\x1b" not in done.stdout
    run = next(runs(_home(checkout)))
    assert run["parameters"]["target"] == "cpu"
    report = Path(
        re.search(r"report +file://(\S+)", done.stdout)[1].replace("%20", " ").replace("%3A", ":").replace("%2B", "+")
    )
    assert "First" in report.read_text()
    assert "login admin / " in done.stdout
    http = deployment.status(_home(checkout) / "serving")["http"]
    assert (
        f"serving  {deployment.status(_home(checkout) / 'serving')['address']}\n           http://{http}   REST, /metrics"
        in done.stdout
    )
    assert f"HTTP server     http://{http}" in done.stdout


def test_a_second_run_reuses_the_stack_and_the_steps(checkout):
    done = _fleetml(checkout, "train", "dags/small", "--target", "cpu", "-p", "seed=5")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "stack: running already, reused" in done.stdout
    assert "2 of 2 steps: First, Second" in done.stdout


def test_runs_that_nobody_gives_parameters_are_about_what_was_trained_last(checkout):
    stack = state.read(_home(checkout))
    client = connect(stack)
    run_id = client.trigger("small", {})
    list(client.follow("small", run_id))
    given = Run(_home(checkout), run_id).read()["parameters"]
    assert (given["target"], given["seed"]) == ("cpu", 5)
    assert _fleetml(checkout, "train", "dags/small").returncode == 0  # not about that: nothing was said
    given = next(runs(_home(checkout)))["parameters"]
    assert (given["target"], given["seed"]) == ("bandwidth", 0)


def test_a_failed_step_ends_in_at_most_ten_lines_and_status_1(checkout):
    failed = _fleetml(checkout, "train", "dags/small", "-p", "mode=fail")
    assert failed.returncode == 1
    lines = failed.stdout.splitlines()
    told = lines[lines.index("run failed") + 1 :]
    place = next(number for number, line in enumerate(told) if line.startswith("  Airflow run"))
    assert place <= 10
    assert "no rows left in the table" in told[0]
    assert any("fleetml resume" in line for line in told)
    assert "Traceback" not in failed.stderr


def test_ctrl_c_stops_the_run_and_leaves_a_stack_that_ran_before(checkout):
    before = state.read(_home(checkout))
    command = subprocess.Popen(
        _command("train", "dags/small", "-p", "mode=hang"), cwd=checkout, env=_environment(checkout),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    said = ""
    for line in command.stdout:
        said += line
        if re.search(r"Second +running", line):
            break
    refused = _fleetml(checkout, "resume", next(runs(_home(checkout)))["run_id"])
    assert refused.returncode == 2
    assert "a run is run by one engine, Airflow runs small__" in refused.stderr
    command.send_signal(signal.SIGINT)
    rest, err = command.communicate(timeout=120)
    assert command.returncode == 130, said + rest + err
    assert "stays up" in rest
    assert "Traceback" not in err
    run = next(runs(_home(checkout)))
    assert run["state"] in ("cancelled", "failed")
    hanging = [process for process in _steps_of(checkout) if "hang" in process]
    assert hanging == []
    assert state.read(_home(checkout)) == before
    assert before.dead == []


def _steps_of(folder: Path) -> list[list[str]]:
    import psutil

    return [p.info["cmdline"] or [] for p in psutil.process_iter(["cmdline"]) if str(folder) in str(p.info["cmdline"])]


def test_up_finds_the_stack_running(checkout):
    found = _fleetml(checkout, "up")
    assert found.returncode == 0
    assert "running already, reused" in found.stdout
    assert f"http://{deployment.status(_home(checkout) / 'serving')['http']}" in found.stdout


def test_down_leaves_no_process(checkout):
    done = _fleetml(checkout, "down")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "no process is left" in done.stdout
    assert processes.marked(_home(checkout)) == []
    assert "nothing to stop" in _fleetml(checkout, "down").stdout


def test_ctrl_c_on_a_terminal_stops_the_stack_that_this_command_started(checkout):
    """On a terminal the table is live; Ctrl-C is the key, which reaches the whole foreground group."""
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(checkout)
        os.execve(sys.executable, _command("train", "dags/small", "-p", "mode=hang"), _environment(checkout))
    shown = b""
    deadline = time.monotonic() + 180
    while not re.search(rb"Second.{0,40}running", shown[-4000:]) and time.monotonic() < deadline:
        if select.select([terminal], [], [], 1)[0]:
            try:
                shown += os.read(terminal, 65536)
            except OSError:
                pytest.fail(f"the command ended too early: {shown.decode()[-2000:]}")
    os.write(terminal, b"\x03")
    try:
        while chunk := os.read(terminal, 65536):
            shown += chunk
    except OSError:
        pass  # the terminal is gone with the command
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 130, shown.decode()[-3000:]
    assert "no process is left" in shown.decode()
    assert processes.marked(_home(checkout)) == []
    assert state.read(_home(checkout)) is None


def test_the_next_run_after_a_ctrl_c_works(checkout):
    done = _fleetml(checkout, "train", "dags/small")
    assert done.returncode == 0, done.stdout + done.stderr
    document = json.loads((Run(_home(checkout), next(runs(_home(checkout)))["run_id"]).folder / "run.json").read_text())
    assert document["state"] == "succeeded"
    assert Settings.from_environment({}, checkout).serving_address
