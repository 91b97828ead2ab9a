"""Bad input: each has the right state, one clear message, an exit status that is not 0, and harms nothing else.

What must be refused before a run are rows of `REFUSED`, steps that misbehave are rows of `STEPS`.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fleetml.cli import main
from fleetml.engines import local
from fleetml.pipeline import load
from fleetml.records import Run
from fleetml.settings import Settings
from tests.containers import Containers

OURS = ("Traceback", "internal error", "mistake of FleetML")  # words of mistakes that are not the user's


def one_step(command: list[str], *args: str, name: str = "bad", **component: Any) -> dict[str, Any]:
    """Return an IR of one step, and beside it one step that does no harm."""
    executors = {
        f"exec-{name}": {"container": {"image": "fleetml/ml", "command": command, "args": list(args)}},
        "exec-good": {"container": {"image": "fleetml/ml", "command": ["true"]}},
    }
    return {
        "schemaVersion": "2.1.0",
        "sdkVersion": "kfp-2.17.0",
        "pipelineInfo": {"name": "p"},
        "components": {
            f"comp-{name}": {"executorLabel": f"exec-{name}", **component},
            "comp-good": {"executorLabel": "exec-good"},
        },
        "deploymentSpec": {"executors": executors},
        "root": {
            "dag": {
                "tasks": {
                    each: {"componentRef": {"name": f"comp-{each}"}, "taskInfo": {"name": each}}
                    for each in (name, "good")
                }
            }
        },
    }


def changed(place: str, value: Any, **known: Any) -> str:
    """Return the IR of a step with the value at a place (joined by slashes) replaced."""
    document = one_step(["true"], **known)
    *parents, last = place.split("/")
    target = document
    for key in parents:
        target = target.setdefault(key, {})
    target[last] = value
    return json.dumps(document)


def condition(expression: str) -> str:
    return changed("root/dag/tasks/bad/triggerPolicy", {"condition": expression})


def outputs(kind: str, name: str) -> str:
    definition = {
        "parameters": {"parameterType": "STRING"},
        "artifacts": {"artifactType": {"schemaTitle": "system.Model"}},
    }
    return changed("components/comp-bad/outputDefinitions", {kind: {name: definition[kind]}})


TASK, COMPONENT, EXECUTOR = "root/dag/tasks/bad", "components/comp-bad", "deploymentSpec/executors/exec-bad"

# what is wrong: the document, and words of the message
REFUSED: dict[str, tuple[str, str]] = {
    "another schema": (changed("schemaVersion", "2.2.0"), "schemaVersion must be 2.1.0, got '2.2.0'"),
    "no text": ("\0\1\2", "neither YAML nor JSON"),
    "nothing": ("", "is empty"),
    "a task that waits for nobody": (changed(f"{TASK}/dependentTasks", ["gone"]), "there is no task 'gone'"),
    "a component that is not there": (changed(f"{TASK}/componentRef/name", "comp-x"), "no component 'comp-x'"),
    "an executor that is not there": (changed(f"{COMPONENT}/executorLabel", "exec-x"), "no executor 'exec-x'"),
    "a component without executor": (changed(COMPONENT, {}), "either a dag or an executorLabel"),
    "an executor without container": (changed(EXECUTOR, {}), "a container with an image"),
    "an executor without image": (changed(f"{EXECUTOR}/container/image", ""), "a container with an image"),
    "a cycle": (changed(f"{TASK}/dependentTasks", ["bad"]), "wait for each other"),
    "a name twice, JSON": (json.dumps(one_step(["true"])).replace('"good": {', '"bad": {'), "'bad' twice"),
    "a name twice, YAML": ("schemaVersion: 2.1.0\nroot: {}\nroot: {}\n", "'root' twice"),
    "a wrong type": (changed(f"{TASK}/dependentTasks", 3), "must be a list"),
    "a task named like a path": (changed("root/dag/tasks/..", {}), "a name must match"),
    "an output parameter named like a path": (outputs("parameters", "../../x"), "a name must match"),
    "an artifact named like a path": (outputs("artifacts", "../x"), "a name must match"),
    "an artifact named like our own file": (outputs("artifacts", "result.json"), "a name must match"),
    "a variable that is none": (changed(f"{EXECUTOR}/container/env", [{"name": "A=B", "value": ""}]), "'A=B'"),
    "a duration that is none": (changed(f"{TASK}/retryPolicy", {"backoffDuration": "nans"}), "must be seconds"),
    "half a character": (changed("pipelineInfo/description", "\ud800"), "JSON values only"),
    "JSON without end": ('{"a":' + "[" * 100_000 + "]" * 100_000 + "}", "nested deeper"),
    "YAML without end": ("a: " + "[" * 3000 + "]" * 3000, "at most 500 deep, line 1 has more; flatten it"),
    "YAML that holds itself": ("a: &a [*a]", "line 1 holds itself"),
    "a loop over a list without end": (
        changed(f"{TASK}/parameterIterator", {"itemInput": "x", "items": {"raw": "[" * 50_000}}),
        "nested deeper",
    ),
    "a condition that is none": (condition("1 === 1"), "condition 1 === 1 cannot be read at '= 1'"),
    "a condition of many brackets": (condition("(" * 5000 + "1==1" + ")" * 5000), "let a step decide"),
    "a condition of many negations": (condition("!" * 5000 + "true"), "let a step decide"),
    "a condition of many terms": (condition("||".join(["1==1"] * 5000)), "let a step decide"),
}


@pytest.fixture
def fleetml(project: Settings, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    monkeypatch.setenv("FLEETML_PROJECT", str(project.project))
    return lambda *words: main([str(word) for word in words])


@pytest.mark.parametrize("name", REFUSED)
def test_a_pipeline_that_is_none_is_refused_before_anything_runs(
    name: str, fleetml: Callable[..., int], project: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    document, words = REFUSED[name]
    path = tmp_path / "p.yaml"
    path.write_text(document)
    assert fleetml("run", path) == 1
    said = capsys.readouterr().err
    assert words in said
    assert len(said) < 600
    assert said.count("\n") == 1
    assert not any(word in said for word in OURS)
    assert not (project.home / "runs").exists()


# A step in Python that was told where its outputs belong: `O` the executor output, `P` a parameter, `A` an artifact, `here` its folder.
HEAD = """
import json, os, signal, socket, sys
told = json.loads(sys.argv[1])
O = told["outputs"]["outputFile"]
P = told["outputs"]["parameters"]["text"]["outputFile"]
A = told["outputs"]["artifacts"]["data"]["artifacts"][0]["uri"]
here = os.path.dirname(O)

def write(place, text="x"):
    with open(place, "wb" if isinstance(text, bytes) else "w") as file:
        file.write(text)

"""
BOTH: dict[str, Any] = {
    "outputDefinitions": {
        "parameters": {"text": {"parameterType": "STRING"}},
        "artifacts": {"data": {"artifactType": {"schemaTitle": "system.Dataset", "schemaVersion": "0.0.1"}}},
    }
}
FOLDER = "write(P); os.mkdir(A); "

# what a step does: its code, and words of the message
STEPS: dict[str, tuple[str, str]] = {
    "writes nothing": ("", "output parameter 'text' of step 'bad' was not written"),
    "an executor output that is no JSON": ("write(P); write(A); write(O, '{')", "must be JSON, step 'bad' wrote '{'"),
    "one without end": ("write(P); write(A); write(O, '[' * 100_000)", "executor_output.json must be JSON"),
    "one that is a folder": ("write(P); write(A); os.mkdir(O)", "is a folder"),
    "one that is a pipe": ("write(P); write(A); os.mkfifo(O)", "is a pipe"),
    "one that is a link": ("write(P); write(A); os.symlink('/etc/passwd', O)", "is a link"),
    "half a character": ("write(A); write(O, json.dumps({'parameterValues': {'text': '\\ud800'}}))", "must be JSON"),
    "a parameter that is no text": ("write(P, b'\\xff'); write(A)", "output parameter 'text' of step 'bad' is not"),
    "a parameter that is a pipe": ("os.mkfifo(P); write(A)", "is a pipe"),
    "an artifact that is a pipe": ("write(P); os.mkfifo(A)", "holds the pipe"),
    "an artifact that is a socket": (
        "write(P); os.chdir(here); socket.socket(socket.AF_UNIX).bind('data')",
        "holds the socket",
    ),
    "an artifact that is a link to elsewhere": ("write(P); os.symlink('/dev/zero', A)", "-> /dev/zero"),
    "an artifact that is a link to nothing": ("write(P); os.symlink('/not/there', A)", "-> /not/there"),
    "an artifact that is a link to itself": ("write(P); os.symlink(A, A)", "holds the link"),
    "a link that is broken by publishing": (
        "write(P); write(here + '/x'); os.symlink(here + '/x', A)",
        "holds the link",
    ),
    "a pipe in a folder": (FOLDER + "os.mkfifo(A + '/pipe')", "holds the pipe"),
    "a link out of a folder": (FOLDER + "os.symlink('../../../x', A + '/link')", "holds the link"),
    "an absolute link in a folder": (FOLDER + "write(A + '/x'); os.symlink(A + '/x', A + '/link')", "holds the link"),
    "deletes its own folder": ("import shutil; shutil.rmtree(here)", "was not written"),
    "a failure of the wrong shape": (
        "write(here + '/failure.json', json.dumps({'type': 1, 'message': [], 'file': {}, 'line': 'x'})); sys.exit(3)",
        "step 'bad' failed: exit status 3",
    ),
    "a failure of half a character": (
        "write(here + '/failure.json', json.dumps("
        "{'type': 'T', 'message': 'a\\ud800', 'file': '', 'line': 0, 'user_error': False})); sys.exit(3)",
        "step 'bad' failed: T: a?",
    ),
    "a failure that is a pipe": ("os.mkfifo(here + '/failure.json'); sys.exit(3)", "exit status 3"),
    "a signal without a name": ("os.kill(os.getpid(), signal.SIGRTMIN + 1)", f"killed by signal {signal.SIGRTMIN + 1}"),
    "killed, as by a system without memory": ("os.kill(os.getpid(), signal.SIGKILL)", "killed by SIGKILL"),
}


@pytest.mark.parametrize("name", STEPS)
def test_a_step_that_misbehaves_has_failed_and_the_others_go_on(
    name: str, fleetml: Callable[..., int], project: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, words = STEPS[name]
    failed(one_step(["python", "-c", HEAD + code], "{{$}}", **BOTH), words, fleetml, project, tmp_path, capsys)


def failed(
    document: dict[str, Any],
    words: str,
    fleetml: Callable[..., int],
    project: Settings,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Run a step that must fail with these words, beside one that must not; nothing but that one's result is left."""
    path = tmp_path / "p.yaml"
    path.write_text(json.dumps(document))
    assert fleetml("run", path, "--run-id", "r", "--workers", 2) == 1
    said = capsys.readouterr().err
    assert words in said
    assert len(said.splitlines()) <= 10
    assert not any(word in said for word in OURS)
    assert {step: attempt.state for step, attempt in Run(project.home, "r").latest().items()} == {
        "bad": "failed",
        "good": "succeeded",
    }
    assert [place.name[:5] for place in (project.home / "results").iterdir()] == ["good-"]


# A command that cannot be started: its words and variables, and words of the message
COMMANDS: dict[str, tuple[dict[str, Any], str]] = {
    "a program that is not there": ({"command": ["no-such-program"]}, "has no program 'no-such-program'"),
    "a program without a name": ({"command": [""]}, "has no program ''"),
    "no command at all": ({"command": [], "args": []}, "a process needs a command"),
    "only arguments": ({"command": [], "args": ["--help"]}, "a process needs a command"),
    "a NUL byte in an argument": ({"args": ["a\0b"]}, "hold no NUL byte, step 'bad' has one in 'a\\x00b'"),
    "a NUL byte in a variable": ({"env": [{"name": "A", "value": "\0"}]}, "hold no NUL byte"),
    "an argument without end": ({"args": ["x" * 200_000]}, "an argument of a command is at most 131,071 bytes"),
    "a limit that is none": ({"resources": {"resourceMemoryLimit": "much"}}, "got 'much'"),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_that_cannot_be_started_has_failed(
    name: str, fleetml: Callable[..., int], project: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    known, words = COMMANDS[name]
    document = one_step(["true"])
    document["deploymentSpec"]["executors"]["exec-bad"]["container"].update(known)
    failed(document, words, fleetml, project, tmp_path, capsys)


def test_a_file_with_other_names_is_published_as_one_of_its_own(
    fleetml: Callable[..., int], project: Settings, tmp_path: Path
) -> None:
    mine = tmp_path / "mine"
    mine.write_text("x")
    mine.chmod(0o644)
    code = f"write(P); os.link({str(mine)!r}, A)"
    path = tmp_path / "p.yaml"
    path.write_text(json.dumps(one_step(["python", "-c", HEAD + code], "{{$}}", **BOTH)))
    assert fleetml("run", path) == 0
    (data,) = (project.home / "results").glob("bad-*/data")
    mine.write_text("changed")
    assert data.read_text() == "x"
    assert mine.stat().st_mode & 0o777 == 0o644


def test_an_image_nobody_knows_is_named(
    fleetml: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(changed(f"{EXECUTOR}/container/image", "no/such:1"))
    assert fleetml("run", path) != 0
    assert "image 'no/such:1' has no environment on this machine" in capsys.readouterr().err


@pytest.mark.parametrize("left", ["os.symlink('x', A + '/link'); write(A + '/x')", "os.symlink('.', A + '/link')"])
def test_links_to_what_lies_beside_them_are_kept(
    left: str, fleetml: Callable[..., int], project: Settings, tmp_path: Path
) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(json.dumps(one_step(["python", "-c", HEAD + FOLDER + left], "{{$}}", **BOTH)))
    assert fleetml("run", path) == 0
    (link,) = (project.home / "results").glob("bad-*/data/link")
    assert link.is_symlink()


# What a step makes of a run's folder, or of its value, and words of the message
ENDS: dict[str, tuple[str, str]] = {
    "a list without end": ("write(P, '[' * 150 + ']' * 150); write(A)", "must be nested at most 100 deep"),
    "a number without end": ("write(P, '[' + '9' * 5000 + ']'); write(A)", "must be a list of JSON values"),
}


@pytest.mark.parametrize("name", ENDS)
def test_a_value_without_end_fails_its_step(
    name: str, fleetml: Callable[..., int], project: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, words = ENDS[name]
    outputs = {**BOTH["outputDefinitions"], "parameters": {"text": {"parameterType": "LIST"}}}
    document = one_step(["python", "-c", HEAD + code], "{{$}}", outputDefinitions=outputs)
    failed(document, words, fleetml, project, tmp_path, capsys)


def test_a_step_that_removes_the_run_s_records_is_told(
    fleetml: Callable[..., int], project: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "p.yaml"
    code = f"import shutil; shutil.rmtree({str(project.home / 'runs')!r})"
    path.write_text(json.dumps(one_step(["python", "-c", code])))
    assert fleetml("run", path, "--run-id", "r", "--workers", 1) == 1
    said = capsys.readouterr().err
    assert "runs/r was removed while it ran" in said
    assert not any(word in said for word in OURS)


@pytest.mark.parametrize(
    ("shell", "words"),
    [
        ("{run} | head -n 0; exit ${{PIPESTATUS[0]}}", ""),
        ("{run} >&- 2>&-", ""),
        ("{run} <&- >&- 2>&-", ""),
        ("PYTHONIOENCODING=ascii {run}", "run r: succeeded"),
    ],
    ids=["nobody reads", "closed", "all closed", "no UTF-8"],
)
def test_a_run_goes_on_whatever_becomes_of_its_output(
    shell: str, words: str, project: Settings, tmp_path: Path
) -> None:
    path = tmp_path / "p.yaml"
    document = one_step(["sh", "-c", "sleep 0.3"])
    document["root"]["dag"]["tasks"]["good"] |= {
        "dependentTasks": ["bad"],
        "triggerPolicy": {"condition": "'…' == 'ä'"},
    }
    path.write_text(json.dumps(document))
    environ = {**os.environ, "FLEETML_PROJECT": str(project.project)}
    run = f"{sys.executable} -m fleetml run '{path}' --run-id r"
    ended = subprocess.run(
        ["bash", "-c", shell.format(run=run)], env=environ, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    assert words in ended.stdout
    assert Run(project.home, "r").read()["state"] == "succeeded"


# What a step does to its input, the folder `I` with the file `x`
CHANGES = {
    "writes": "os.chmod(I + '/x', 0o644); write(I + '/x', 'changed')",
    "renames": "os.rename(I + '/x', I + '/y'); write(I + '/x', 'changed')",
    "adds": "write(I + '/y')",
    "removes": "import shutil; shutil.rmtree(I)",
}
READER = """
import json, os, sys
told = json.loads(sys.argv[1])
I = told["inputs"]["artifacts"]["data"]["artifacts"][0]["uri"]

def write(place, text=""):
    with open(place, "w") as file:
        file.write(text)

"""
READS = {"inputDefinitions": {"artifacts": {"data": {"artifactType": {"schemaTitle": "system.Dataset"}}}}}


def changing(code: str) -> dict[str, Any]:
    """Return an IR: `make` makes a folder, `bad` runs the code on it, `late` looks at it afterwards, whatever `bad` came to."""
    document = one_step(["python", "-c", HEAD + FOLDER + "write(A + '/x')"], "{{$}}", name="make", **BOTH)
    tasks = document["root"]["dag"]["tasks"]
    for name, code_of in (("bad", code), ("late", "open(I + '/x').read()")):
        document["components"][f"comp-{name}"] = {"executorLabel": f"exec-{name}", **READS}
        command = ["python", "-c", READER + code_of]
        document["deploymentSpec"]["executors"][f"exec-{name}"] = {
            "container": {"image": "fleetml/ml", "command": command, "args": ["{{$}}"]}
        }
        data = {"taskOutputArtifact": {"producerTask": "make", "outputArtifactKey": "data"}}
        tasks[name] = {
            "componentRef": {"name": f"comp-{name}"},
            "taskInfo": {"name": name},
            "dependentTasks": ["make"],
            "inputs": {"artifacts": {"data": data}},
        }
    tasks["late"] |= {
        "dependentTasks": ["make", "bad"],
        "triggerPolicy": {"strategy": "ALL_UPSTREAM_TASKS_COMPLETED"},
    }
    return document


@pytest.mark.parametrize("name", CHANGES)
def test_a_step_that_changes_its_input_has_failed_and_nobody_reads_what_is_changed(
    name: str, fleetml: Callable[..., int], project: Settings, tmp_path: Path
) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(json.dumps(changing(CHANGES[name])))
    assert fleetml("run", path, "--run-id", "r") == 1
    failures = {step: attempt.failure for step, attempt in Run(project.home, "r").latest().items() if attempt.failure}
    assert failures["bad"]["message"].startswith("artifacts can only be read, input artifact 'data' of step 'bad'")
    assert failures["late"]["message"].startswith("artifacts are what their steps left, input artifact 'data'")


def test_a_step_may_touch_its_input_as_long_as_it_stays_what_it_is(fleetml: Callable[..., int], tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(json.dumps(changing("os.chmod(I + '/x', 0o600)")))
    assert fleetml("run", path) == 0


def test_a_result_whose_file_became_a_pipe_is_made_again(
    fleetml: Callable[..., int], project: Settings, tmp_path: Path
) -> None:
    document = one_step(["python", "-c", HEAD + "write(P); write(A)"], "{{$}}", **BOTH)
    document["root"]["dag"]["tasks"]["bad"]["cachingOptions"] = {"enableCache": True}
    path = tmp_path / "p.yaml"
    path.write_text(json.dumps(document))
    assert fleetml("run", path) == 0
    (data,) = (project.home / "results").glob("bad-*/data")
    data.unlink()
    os.mkfifo(data)
    assert fleetml("run", path, "--run-id", "r") == 0
    assert not Run(project.home, "r").latest()["bad"].cached


# A file of a run's records, what stands in it instead, and words of what `status` says
DAMAGES = {
    "no JSON": ("run.json", "{", "run.json is damaged"),
    "no mapping": ("run.json", "[1]", "run.json is damaged: it is no mapping"),
    "nothing in it": ("run.json", "{}", "run.json is damaged: its entry 'run_id' is missing"),
    "without end": ("run.json", "[" * 100_000, "run.json is damaged: it is nested without end"),
    "odd times": ("run.json", '{"run_id": "r", "state": "failed", "started": "x"}', "its entry 'started' is missing"),
    "an attempt that is no JSON": ("steps/bad/attempt-1.json", "{", "attempt-1.json is damaged"),
    "an attempt that is no mapping": ("steps/bad/attempt-1.json", "[]", "attempt-1.json is damaged"),
    "an attempt of odd types": (
        "steps/bad/attempt-1.json",
        '{"step": "bad", "number": 1, "state": "succeeded", "outcome": 5}',
        "attempt-1.json is damaged: its entry 'outcome'",
    ),
    "an attempt of odd times": (
        "steps/bad/attempt-1.json",
        '{"step": "bad", "number": 1, "state": "succeeded", "started": "x"}',
        "attempt-1.json is damaged: its entry 'started'",
    ),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damaged_records_are_named_and_take_no_other_run_down(
    name: str, fleetml: Callable[..., int], project: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, content, words = DAMAGES[name]
    path = tmp_path / "p.yaml"
    path.write_text(json.dumps(one_step(["true"])))
    for run in ("other", "r"):
        assert fleetml("run", path, "--run-id", run) == 0
    (project.home / "runs/r" / file).write_text(content)
    capsys.readouterr()
    whole = file == "run.json"
    assert fleetml("status", "r") == (2 if whole else 0)
    assert words in "".join(capsys.readouterr())
    assert fleetml("ls") == 0
    assert "other" in capsys.readouterr().out
    assert fleetml("resume", "r") == (2 if whole else 0)
    assert not any(word in "".join(capsys.readouterr()) for word in OURS)


def test_a_record_that_lacks_the_usual_takes_no_other_run_down(
    fleetml: Callable[..., int], project: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    place = project.home / "runs/r/run.json"
    place.parent.mkdir(parents=True)
    place.write_text('{"run_id": "r", "state": "failed"}')
    assert [fleetml("ls"), fleetml("status", "r"), fleetml("status"), fleetml("costs", "r")] == [0, 0, 0, 0]
    assert fleetml("gc", "--dry-run") == 0
    assert not any(word in "".join(capsys.readouterr()) for word in OURS)


def test_of_many_failures_the_first_is_told(
    fleetml: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    document = one_step(["false"])
    tasks = document["root"]["dag"]["tasks"]
    tasks |= {f"bad-{number}": tasks["bad"] for number in range(30)}
    path = tmp_path / "p.yaml"
    path.write_text(json.dumps(document))
    assert fleetml("run", path, "--run-id", "r", "--workers", 4) == 1
    said = capsys.readouterr().err
    assert said.count("failed: exit status 1") == 1
    assert "30 more steps failed; see: fleetml status r" in said


def test_a_cache_entry_without_end_is_no_hit(fleetml: Callable[..., int], project: Settings, tmp_path: Path) -> None:
    document = one_step(["true"])
    document["root"]["dag"]["tasks"]["bad"]["cachingOptions"] = {"enableCache": True}
    path = tmp_path / "p.yaml"
    path.write_text(json.dumps(document))
    assert fleetml("run", path) == 0
    (entry,) = (project.home / "cache").glob("*.json")
    entry.write_text("[" * 100_000)
    assert fleetml("run", path) == 0


@pytest.mark.parametrize("jump", [-1e8, 1e8], ids=["back", "forth"])
def test_a_clock_that_jumps_changes_no_duration(
    jump: float,
    fleetml: Callable[..., int],
    project: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(json.dumps(one_step(["true"])))
    jumps, real = itertools.count(), time.time
    monkeypatch.setattr("time.time", lambda: real() + jump * min(1, next(jumps) // 4))
    assert fleetml("run", path, "--run-id", "r", "--workers", 1) == 0
    monkeypatch.undo()
    monkeypatch.setenv("FLEETML_PROJECT", str(project.project))
    attempts = Run(project.home, "r").latest().values()
    assert all(0 <= attempt.seconds < 1e3 for attempt in attempts)
    capsys.readouterr()
    assert fleetml("status", "r") == 0
    assert "-" not in capsys.readouterr().out.splitlines()[0].rpartition(":")[2]


@pytest.mark.parametrize("home", ["a file", "a file/below", "/proc/none"])
def test_a_home_that_cannot_be_written_is_named(
    home: str,
    fleetml: Callable[..., int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(json.dumps(one_step(["true"])))
    (tmp_path / "a file").write_text("")
    monkeypatch.setenv("FLEETML_HOME", str(tmp_path / home))
    assert fleetml("run", path, "--run-id", "r") == 1
    said = capsys.readouterr().err
    assert f"a run's records must be writable, {tmp_path / home}/runs/r is not" in said
    assert "set FLEETML_HOME" in said


def test_a_container_is_given_no_file_of_this_machine(
    containers: Containers, project: Settings, tmp_path: Path
) -> None:
    secret = tmp_path / "mine"
    secret.write_text("x")
    told = f"{{'artifacts': {{'data': {{'artifacts': [{{'custom_path': {str(secret)!r}}}]}}}}}}"
    code = HEAD + f"write(P); write(O, json.dumps({told}))"
    path = tmp_path / "p.yaml"
    path.write_text(json.dumps(one_step(["python", "-c", code], "{{$}}", **BOTH)))
    plan = load(path)
    assert local.run(local.Job(plan, path, {}, "r"), project, runner=containers.for_any_image()) == "failed"
    failure = Run(project.home, "r").latest()["bad"].failure
    assert failure is not None
    assert "output artifact 'data' of step 'bad' was not written to its path" in failure["message"]
