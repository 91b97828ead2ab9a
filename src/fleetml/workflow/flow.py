"""How the tasks of a workflow hang together: no cycles, and from where each gets its dataset and its model.

A task takes the dataset (the model) of the nearest task before it that makes one: its dependencies first, then theirs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fleetml.frozen import frozen
from fleetml.workflow.grammar import InvalidWorkflow
from fleetml.workflow.spec import Task, Workflow
from fleetml.workflow.types import DATASET, MODEL, makers


@frozen
class Source:
    """The output `output` of the task `task` (its name in the IR)."""

    task: str
    output: str


def check_order(workflow: Workflow) -> None:
    """Raises InvalidWorkflow for tasks that wait for each other, naming one edge of the circle and the whole."""
    tasks = {task.id: task for task in workflow.tasks}
    done: set[str] = set()
    for start in tasks:
        path: list[str] = []
        stack = [(start, iter(tasks[start].dependencies))]
        path.append(start)
        while stack and start not in done:
            name, rest = stack[-1]
            following = next(rest, None)
            if following is None:
                done.add(name)
                stack.pop()
                path.pop()
            elif following in path:
                circle = [*path[path.index(following) :], following]
                task = tasks[name]
                place = f"{task.place}.dependencies[{task.dependencies.index(following)}]"
                raise InvalidWorkflow(
                    f"{place}: tasks wait for each other: {' -> '.join(circle)}; remove one dependency"
                )
            elif following not in done:
                stack.append((following, iter(tasks[following].dependencies)))
                path.append(following)


def sources(workflow: Workflow) -> dict[str, dict[str, Source]]:
    """Return for each task id its artifacts by kind. Raises InvalidWorkflow for one that is missing or ambiguous."""
    check_order(workflow)
    tasks = {task.id: task for task in workflow.tasks}
    return {task.id: _of(task, tasks) for task in workflow.tasks}


def check_split(workflow: Workflow) -> None:
    """Raises InvalidWorkflow where AutoML validates by a group or a time that the rows were not split by.

    The test rows would hold VMs, customers, … that the model has learnt from, and so flatter it.
    """
    tasks = {task.id: task for task in workflow.tasks}
    for task in (each for each in workflow.tasks if each.type == "AUTOML"):
        before = [tasks[each] for each in tasks if each in _ancestors(task, tasks)]
        for data in (each for each in before if each.type == "DATA_PREPROCESSING"):
            for name in ("group", "time_column"):
                wanted, by = (_value(one, name, workflow) for one in (task, data))
                if wanted and wanted != by:
                    raise InvalidWorkflow(
                        f"{task.place}.parameters.{name}: must be that of {data.id!r} too, which splits off the test rows, "
                        f"got {wanted!r} and {by!r}; make it a global parameter"
                    )


def _value(task: Task, name: str, workflow: Workflow) -> Any:
    """Return what a parameter of a task is, by itself or by a global parameter."""
    value = task.parameters.get(name) or workflow.parameters.get(name, "")
    refers = {f"${{{known}}}": it for known, it in workflow.parameters.items()}
    return refers.get(value, value) if isinstance(value, str) else value


def _of(task: Task, tasks: Mapping[str, Task]) -> dict[str, Source]:
    found: dict[str, Source] = {}
    for kind in (*task.kind.takes, *task.kind.may_take):
        nearest = _nearest(task, kind, tasks)
        if len(nearest) > 1:
            names = " and ".join(repr(each.id) for each in nearest)
            raise InvalidWorkflow(
                f"{task.place}.dependencies: {names} both make a {kind} for {task.id!r}; depend on one of them alone"
            )
        if nearest:
            found[kind] = Source(nearest[0].step, dict(nearest[0].kind.makes)[kind])
        elif kind in task.kind.takes and not _is_named(task, kind):
            raise InvalidWorkflow(
                f"{task.place}: {task.type} needs a {kind}, no task before {task.id!r} makes one; {_remedy(task, kind)}"
            )
    if task.type == "BATCH_INFERENCE" and task.parameters.get("dataset_path"):
        found.pop(DATASET, None)
    elif task.type == "BATCH_INFERENCE" and DATASET not in found:
        raise InvalidWorkflow(
            f"{task.place}: BATCH_INFERENCE needs rows; give parameters.dataset_path, or depend on a task of type {makers(DATASET)}"
        )
    return found


def _is_named(task: Task, kind: str) -> bool:
    return kind == MODEL and task.kind.from_registry and bool(task.parameters.get("model_name"))


def _remedy(task: Task, kind: str) -> str:
    named = (
        ", or give parameters.model_name, a model of the registry" if kind == MODEL and task.kind.from_registry else ""
    )
    return f"add a task of type {makers(kind)} to its dependencies{named}"


def _nearest(task: Task, kind: str, tasks: Mapping[str, Task]) -> list[Task]:
    """Return the tasks before `task` that make `kind`, those at the least distance."""
    level, seen = list(dict.fromkeys(task.dependencies)), {task.id}
    while level:
        made = [tasks[name] for name in level if kind in dict(tasks[name].kind.makes)]
        if made:
            return _last(made, tasks)
        seen |= set(level)
        level = list(dict.fromkeys(up for name in level for up in tasks[name].dependencies if up not in seen))
    return []


def _last(made: list[Task], tasks: Mapping[str, Task]) -> list[Task]:
    """Return those of several makers that no other of them comes after."""
    if len(made) == 1:
        return made
    before = {up for task in made for up in _ancestors(task, tasks)}
    return [task for task in made if task.id not in before]


def _ancestors(task: Task, tasks: Mapping[str, Task]) -> set[str]:
    found: set[str] = set()
    waiting = list(task.dependencies)
    while waiting:
        if (name := waiting.pop()) not in found:
            found.add(name)
            waiting += tasks[name].dependencies
    return found
