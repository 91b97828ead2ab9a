"""Bad input, one table for all engines: what must be refused before a run, and steps that misbehave.

`REFUSED` are documents, `STEPS`, `ENDS` and `COMMANDS` steps that must fail, `CHANGES` what a step does to its input; each
with words of the message.
"""

from __future__ import annotations

import json
import signal
from typing import Any

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


# What a step makes of a run's folder, or of its value, and words of the message
ENDS: dict[str, tuple[str, str]] = {
    "a list without end": ("write(P, '[' * 150 + ']' * 150); write(A)", "must be nested at most 100 deep"),
    "a number without end": ("write(P, '[' + '9' * 5000 + ']'); write(A)", "must be a list of JSON values"),
}


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


def _misbehaving() -> dict[str, tuple[dict[str, Any], str]]:
    listed = {**BOTH["outputDefinitions"], "parameters": {"text": {"parameterType": "LIST"}}}
    found = {
        name: (one_step(["python", "-c", HEAD + code], "{{$}}", **BOTH), words) for name, (code, words) in STEPS.items()
    }
    for name, (code, words) in ENDS.items():
        found[name] = (one_step(["python", "-c", HEAD + code], "{{$}}", outputDefinitions=listed), words)
    for name, (known, words) in COMMANDS.items():
        document = one_step(["true"])
        document["deploymentSpec"]["executors"]["exec-bad"]["container"].update(known)
        found[name] = (document, words)
    return found


# IRs of a step `bad` that must fail beside one that must not, and words of the message
FAILING = _misbehaving()


def together(name: str) -> tuple[dict[str, Any], dict[str, str]]:
    """Return one IR with the bad step of each of `FAILING`, and the good one; and what each bad step is called in it."""
    document, called = one_step(["true"]), {}
    document["pipelineInfo"]["name"] = name
    for number, (case, (other, _)) in enumerate(FAILING.items()):
        called[case] = bad = f"bad-{number}"
        document["components"][f"comp-{bad}"] = {**other["components"]["comp-bad"], "executorLabel": f"exec-{bad}"}
        document["deploymentSpec"]["executors"][f"exec-{bad}"] = other["deploymentSpec"]["executors"]["exec-bad"]
        task = {"componentRef": {"name": f"comp-{bad}"}, "taskInfo": {"name": bad}}
        document["root"]["dag"]["tasks"][bad] = task
    del document["root"]["dag"]["tasks"]["bad"]
    return document, called
