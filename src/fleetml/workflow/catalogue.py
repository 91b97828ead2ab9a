"""The components behind the task types, as IR (``tasks.yaml``, compiled from ``components/tabular/tasks.py``)."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fleetml.pipeline import document
from fleetml.pipeline.definitions import interface
from fleetml.pipeline.model import Parameter

FILE = Path(__file__).with_name("tasks.yaml")


@functools.cache
def _document() -> dict[str, Any]:
    return document.read(FILE)


def component(name: str) -> dict[str, Any]:
    """Return a component's definition, in the IR's form."""
    return dict(_document()["components"][f"comp-{name}"])


def executor(name: str) -> dict[str, Any]:
    """Return a component's executor, in the IR's form."""
    found: dict[str, Any] = _document()["deploymentSpec"]["executors"][f"exec-{name}"]
    return {**found, "container": dict(found["container"])}


def parameters(name: str) -> Mapping[str, Parameter]:
    """Return the parameters a component takes, by name."""
    return interface(component(name), name).input_parameters
