"""A workflow as its author wrote it, checked field by field.

workflow_id: training_pipeline_v1
name: Model Training Pipeline            (optional)
description: …                           (optional)
global_parameters: {seed: 1}             (optional; also called parameters)
tasks:
  - task_id: preprocess_data
    task_type: data_preprocessing        (any case)
    name: …                              (optional)
    dependencies: []                     (optional)
    parameters: {dataset_path: data.csv} (optional)
    resources: {cpu_cores: 2, memory_gb: 4, gpu_units: 0}
    retry: 3                             (or {max_retries, backoff_seconds, backoff_factor, max_backoff_seconds})
    cache: true
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import field
from typing import Any

from fleetml.frozen import frozen
from fleetml.workflow import grammar
from fleetml.workflow.grammar import InvalidWorkflow
from fleetml.workflow.types import TYPES, TaskType

_WORKFLOW = ("workflow_id", "name", "description", "global_parameters", "parameters", "tasks")
_TASK = ("task_id", "task_type", "name", "dependencies", "parameters", "resources", "retry", "cache")
_RETRY = ("max_retries", "backoff_seconds", "backoff_factor", "max_backoff_seconds")
_RESOURCES = ("cpu_cores", "memory_gb", "gpu_units")
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}\Z")


@frozen
class Retry:
    """Tries after the first, and the seconds waited before each: `delay`, times `factor` each, at most `longest`."""

    count: int = 0
    delay: float = 0.0
    factor: float = 2.0
    longest: float = 3600.0


@frozen
class Task:
    """One task; `place` is where it stands. `cache` None: as its type has it. Resources 0: not limited."""

    id: str
    type: str
    place: str
    label: str = ""
    dependencies: tuple[str, ...] = ()
    parameters: Mapping[str, Any] = field(default_factory=dict)
    cpu_cores: float = 0.0
    memory_gb: float = 0.0
    gpu_units: int = 0
    retry: Retry = field(default_factory=Retry)
    cache: bool | None = None

    @property
    def kind(self) -> TaskType:
        return TYPES[self.type]

    @property
    def step(self) -> str:
        """The task's name in the IR: lower case, hyphens."""
        return slug(self.id)


@frozen
class Workflow:
    """A checked document; that its tasks fit together is checked when it is compiled."""

    id: str
    label: str
    description: str
    parameters: Mapping[str, Any]
    tasks: tuple[Task, ...]

    @property
    def pipeline(self) -> str:
        """The pipeline's name in the IR."""
        return slug(self.id)


def slug(text: str) -> str:
    """Return an id as the IR's names are written: a-z, 0-9 and hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def parse(document: Any) -> Workflow:
    """Return the workflow of a document. Raises InvalidWorkflow that names the place and the remedy."""
    found = grammar.mapping(document, _WORKFLOW, "", ("workflow_id", "tasks"))
    if "global_parameters" in found and "parameters" in found:
        raise InvalidWorkflow("parameters: is another name of global_parameters; give one of them")
    shared = "parameters" if "parameters" in found else "global_parameters"
    parameters = _parameters(found.get(shared), shared)
    if not (entries := grammar.items(found["tasks"], "tasks")):
        raise InvalidWorkflow("tasks: a workflow has at least one task, got none; add one")
    tasks = tuple(_task(entry, f"tasks[{at}]") for at, entry in enumerate(entries))
    _check_ids(tasks)
    name = _id(found["workflow_id"], "workflow_id")
    label = grammar.text(found["name"], "name") if found.get("name") is not None else name
    return Workflow(name, label, str(found.get("description") or ""), parameters, tasks)


def _task(entry: Any, place: str) -> Task:
    found = grammar.mapping(entry, _TASK, place, ("task_id", "task_type"))
    name = _id(found["task_id"], f"{place}.task_id")
    dependencies = grammar.items(found.get("dependencies") or [], f"{place}.dependencies")
    resources = grammar.mapping(found.get("resources") or {}, _RESOURCES, f"{place}.resources")
    given = {
        key: grammar.number(resources[key], f"{place}.resources.{key}", whole=key == "gpu_units")
        for key in _RESOURCES
        if resources.get(key) is not None
    }
    cache = found.get("cache")
    return Task(
        id=name,
        type=_type(found["task_type"], f"{place}.task_type"),
        place=place,
        label=grammar.text(found["name"], f"{place}.name") if found.get("name") is not None else name,
        dependencies=tuple(grammar.text(one, f"{place}.dependencies[{at}]") for at, one in enumerate(dependencies)),
        parameters=_parameters(found.get("parameters"), f"{place}.parameters"),
        cpu_cores=float(given.get("cpu_cores", 0)),
        memory_gb=float(given.get("memory_gb", 0)),
        gpu_units=int(given.get("gpu_units", 0)),
        retry=_retry(found.get("retry"), f"{place}.retry"),
        cache=None if cache is None else grammar.truth(cache, f"{place}.cache"),
    )


def _id(value: Any, place: str) -> str:
    name = grammar.text(value, place)
    if not _ID.match(name) or not slug(name):
        raise InvalidWorkflow(f"{place}: an id is letters, digits and any of _.-, got {name!r}; rename it")
    return name


def _type(value: Any, place: str) -> str:
    name = grammar.text(value, place).strip().upper().replace("-", "_")
    if name not in TYPES:
        told = grammar.nearest(name, TYPES) or f"; known are {', '.join(TYPES)}"
        raise InvalidWorkflow(f"{place}: {value!r} is no task type{told}")
    return name


def _parameters(value: Any, place: str) -> Mapping[str, Any]:
    value = {} if value is None else value
    if not isinstance(value, dict) or not all(isinstance(name, str) for name in value):
        raise InvalidWorkflow(f"{place}: must be a mapping of names to values, got {value!r}; write NAME: VALUE")
    return value


def _retry(value: Any, place: str) -> Retry:
    if value is None:
        return Retry()
    if not isinstance(value, dict):
        return Retry(int(grammar.number(value, place, whole=True)))
    found = grammar.mapping(value, _RETRY, place, ("max_retries",))
    standard = Retry()
    return Retry(
        int(grammar.number(found["max_retries"], f"{place}.max_retries", whole=True)),
        grammar.number(found.get("backoff_seconds", standard.delay), f"{place}.backoff_seconds"),
        grammar.number(found.get("backoff_factor", standard.factor), f"{place}.backoff_factor", 1),
        grammar.number(found.get("max_backoff_seconds", standard.longest), f"{place}.max_backoff_seconds"),
    )


def _check_ids(tasks: tuple[Task, ...]) -> None:
    """Ids are unique, also as names of the IR; dependencies name tasks."""
    seen: dict[str, Task] = {}
    for task in tasks:
        if other := seen.get(task.step):
            same = "is the id of" if other.id == task.id else "differs in nothing but case or punctuation from that of"
            raise InvalidWorkflow(f"{task.place}.task_id: {task.id!r} {same} {other.place} too; rename one")
        seen[task.step] = task
    ids = {task.id for task in tasks}
    for task in tasks:
        for at, name in enumerate(task.dependencies):
            place = f"{task.place}.dependencies[{at}]"
            if name == task.id:
                raise InvalidWorkflow(f"{place}: task {name!r} depends on itself; remove it")
            if name not in ids:
                told = grammar.nearest(name, ids) or f"; the tasks are {', '.join(sorted(ids))}"
                raise InvalidWorkflow(f"{place}: {name!r} is no task of this workflow{told}")
