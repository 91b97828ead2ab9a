"""Pipelines of Python functions, made on the spot."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from fleetml.pipeline.values import canonical_json

Pipeline = Callable[..., Path]


@pytest.fixture
def pipeline(stage: Callable[[str], str], tmp_path: Path) -> Pipeline:
    """Return a function that writes code and an IR with a task per function (after which others), and returns the IR.

    A function gets the upstream tasks' `out` (an integer) as parameters of their names, and returns its own.
    """

    def write(code: str, tasks: Mapping[str, Sequence[str]], **known: Any) -> Path:
        """`known`: entries added to every task (retryPolicy), `uncached`: names of tasks compiled with caching off."""
        module = stage(code)
        uncached = known.pop("uncached", ())
        components, executors, dag = {}, {}, {}
        for name, before in tasks.items():
            inputs = {each: {"parameterType": "NUMBER_INTEGER"} for each in before}
            components[f"comp-{name}"] = {
                "executorLabel": f"exec-{name}",
                **({"inputDefinitions": {"parameters": inputs}} if inputs else {}),
                "outputDefinitions": {"parameters": {"out": {"parameterType": "NUMBER_INTEGER"}}},
            }
            executors[f"exec-{name}"] = {
                "container": {
                    "image": "fleetml/ml",
                    "command": ["python", "-m", "fleetml.component", f"{module}:{name}"],
                    "args": ["{{$}}"],
                }
            }
            produced = {
                each: {"taskOutputParameter": {"producerTask": each, "outputParameterKey": "out"}} for each in before
            }
            dag[name] = {
                "componentRef": {"name": f"comp-{name}"},
                "taskInfo": {"name": name},
                "cachingOptions": {} if name in uncached else {"enableCache": True},
                **({"dependentTasks": list(before), "inputs": {"parameters": produced}} if before else {}),
                **known,
            }
        path = tmp_path / "pipeline.yaml"
        path.write_text(
            canonical_json(
                {
                    "schemaVersion": "2.1.0",
                    "sdkVersion": "kfp-2.17.0",
                    "pipelineInfo": {"name": "p"},
                    "components": components,
                    "deploymentSpec": {"executors": executors},
                    "root": {"dag": {"tasks": dag}},
                }
            )
        )
        return path

    return write
