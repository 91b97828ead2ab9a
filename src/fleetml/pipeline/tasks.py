"""One task of a DAG with its component, and which of the tasks beside it come first."""

from __future__ import annotations

from collections.abc import Mapping
from graphlib import CycleError, TopologicalSorter
from typing import Any

from fleetml.errors import InvalidPipeline
from fleetml.frozen import frozen
from fleetml.pipeline import platform
from fleetml.pipeline.definitions import Interface
from fleetml.pipeline.wiring import Ports, named

STRATEGIES = ("", "TRIGGER_STRATEGY_UNSPECIFIED", "ALL_UPSTREAM_TASKS_SUCCEEDED", "ALL_UPSTREAM_TASKS_COMPLETED")
_PRODUCED = ("taskFinalStatus", "taskOutputParameter", "taskOutputArtifact")  # the sources that are another task's


@frozen
class TaskSpec:
    """A task as it stands at `place` of the document (`spec`), its component, and the values of its inputs.

    `common` is what its `Step` and its `Group` would have in common: name, label, group, order, guard.
    """

    place: str
    spec: Mapping[str, Any]
    component_name: str
    component: Mapping[str, Any]
    declared: Interface
    ports: Ports
    common: Mapping[str, Any]

    @property
    def name(self) -> str:
        return str(self.common["name"])


def strategy(spec: Mapping[str, Any], place: str) -> str:
    """Return the trigger strategy of a task. Raises InvalidPipeline for one that is none."""
    found = spec.get("triggerPolicy", {}).get("strategy", "")
    if found not in STRATEGIES:
        raise InvalidPipeline(f"{place}.triggerPolicy.strategy must be one of {STRATEGIES[1:]}, got {found!r}")
    return str(found)


def before(task: Mapping[str, Any], settings: Mapping[str, Any], tasks: Mapping[str, Any], place: str) -> list[str]:
    """Return the tasks beside this one that come before it, by order or by data, in the IR's order."""
    inputs = task.get("inputs", {})
    producers = [*task.get("dependentTasks", []), *platform.producers(settings)]
    for kind in ("parameters", "artifacts"):
        for source in inputs.get(kind, {}).values():
            producers += [source[told].get("producerTask", "") for told in _PRODUCED if told in source]
    for name in producers:
        named(name, tasks, place, "task")
    return list(dict.fromkeys(producers))


def ordered(before: Mapping[str, list[str]], place: str) -> list[str]:
    """Return the tasks in topological order, those that are ready together in the IR's. Raises InvalidPipeline for a cycle."""
    sorter, positions = TopologicalSorter(before), {name: position for position, name in enumerate(before)}
    try:
        sorter.prepare()
    except CycleError as error:
        stuck = ", ".join(sorted(set(error.args[1])))
        raise InvalidPipeline(f"{place}: the tasks {stuck} wait for each other; remove the cycle") from None
    done: list[str] = []
    while sorter.is_active():
        ready = sorted(sorter.get_ready(), key=positions.__getitem__)
        done += ready
        sorter.done(*ready)
    return done
