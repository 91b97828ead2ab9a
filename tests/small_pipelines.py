"""Pipelines of Python functions, made on the spot."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from fleetml.pipeline.values import canonical_json

Pipeline = Callable[..., Path]
INTEGER = {"parameterType": "NUMBER_INTEGER"}


def write(
    path: Path,
    tasks: Mapping[str, Any],
    components: Mapping[str, Any],
    executors: Mapping[str, Any],
    parameters: Mapping[str, Any] | None = None,
) -> Path:
    """Write the IR of a pipeline ``p``; `components` and `executors` are by their tasks' names. Return its place."""
    inputs = {"inputDefinitions": {"parameters": parameters}} if parameters else {}
    document = {
        "schemaVersion": "2.1.0",
        "sdkVersion": "kfp-2.17.0",
        "pipelineInfo": {"name": "p"},
        "components": {f"comp-{name}": {"executorLabel": f"exec-{name}", **it} for name, it in components.items()},
        "deploymentSpec": {"executors": {f"exec-{name}": it for name, it in executors.items()}},
        "root": {"dag": {"tasks": {name: _task(name, it) for name, it in tasks.items()}}, **inputs},
    }
    path.write_text(canonical_json(document))
    return path


def calling(entry: str) -> dict[str, Any]:
    """Return the executor that calls ``module:function``."""
    command = ["python", "-m", "fleetml.component", entry]
    return {"container": {"image": "fleetml/ml", "command": command, "args": ["{{$}}"]}}


def output_of(task: str, output: str, kind: str = "Parameter") -> dict[str, Any]:
    """Return a task's input that is an output of another; `kind` Parameter or Artifact."""
    return {f"taskOutput{kind}": {"producerTask": task, f"output{kind}Key": output}}


def _task(name: str, known: Mapping[str, Any]) -> dict[str, Any]:
    usual = {"cachingOptions": {"enableCache": True}}
    return {"componentRef": {"name": f"comp-{name}"}, "taskInfo": {"name": name}, **usual, **known}


@pytest.fixture
def pipeline(stage: Callable[[str], str], tmp_path: Path) -> Pipeline:
    """Return a function that writes code and an IR with a task per function (after which others), and returns the IR.

    A function gets the upstream tasks' `out` (an integer) as parameters of their names, and returns its own.
    """

    def make(code: str, tasks: Mapping[str, Sequence[str]], uncached: Sequence[str] = (), **known: Any) -> Path:
        """`known`: entries added to every task (retryPolicy), `uncached`: names of tasks compiled with caching off."""
        module = stage(code)
        components, dag = {}, {}
        for name, before in tasks.items():
            inputs = {"inputDefinitions": {"parameters": dict.fromkeys(before, INTEGER)}} if before else {}
            components[name] = {**inputs, "outputDefinitions": {"parameters": {"out": INTEGER}}}
            given = {"parameters": {each: output_of(each, "out") for each in before}}
            dag[name] = {
                **({"cachingOptions": {}} if name in uncached else {}),
                **({"dependentTasks": list(before), "inputs": given} if before else {}),
                **known,
            }
        executors = {name: calling(f"{module}:{name}") for name in tasks}
        return write(tmp_path / "pipeline.yaml", dag, components, executors)

    return make
