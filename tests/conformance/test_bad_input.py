"""Bad input: each has the right state, one clear message, an exit status that is not 0, and harms nothing else.

What must be refused before a run are rows of `REFUSED`, steps that misbehave are rows of `STEPS`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fleetml.cli import main
from fleetml.settings import Settings

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
    "YAML without end": ("a: " + "[" * 3000 + "]" * 3000, "nested deeper"),
    "YAML that holds itself": ("a: &a [*a]", "JSON values only"),
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
