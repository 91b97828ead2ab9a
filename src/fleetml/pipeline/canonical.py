"""One IR for one pipeline.

The KFP compiler numbers components and executors in an order that changes between runs, and shares
equal ones sometimes. Here equal components are one, named after the first task that uses it (DAGs from
the root inwards, tasks by name), with an executor of the same name, so that compiling again leaves no diff.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from fleetml.pipeline.values import digest

_PARAMETERS = ("root", "inputDefinitions", "parameters")


def canonical(document: Mapping[str, Any], platforms: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the PipelineSpec and the settings by platform (kfp-kubernetes) under canonical names.

    What no task uses is left out.
    """
    components = document.get("components", {})
    executors = document.get("deploymentSpec", {}).get("executors", {})
    settings = {platform: spec.get("deploymentSpec", {}).get("executors", {}) for platform, spec in platforms.items()}
    sources = {"": executors, **settings}
    keys = _content_keys(components, sources)
    named: dict[str, str] = {}
    for task, component in _used(document["root"], components):
        if keys[component] not in named:
            named[keys[component]] = _free(f"comp-{task}", named)
    names = {old: named[key] for old, key in keys.items() if key in named}
    labels = {
        names[old]: components[old]["executorLabel"] for old in sorted(names) if "executorLabel" in components[old]
    }

    def renamed_executors(found: Mapping[str, Any]) -> dict[str, Any]:
        return {_executor(name): found[label] for name, label in labels.items() if label in found}

    spec = {
        **document,
        "root": _renamed(document["root"], "", names),
        "components": {names[old]: _renamed(components[old], names[old], names) for old in sorted(names)},
        "deploymentSpec": {"executors": renamed_executors(executors)},
    }
    made = {
        platform: {**given, "deploymentSpec": {"executors": renamed_executors(settings[platform])}}
        for platform, given in platforms.items()
    }
    return spec, made


def text(*documents: Mapping[str, Any]) -> str:
    """Return the YAML of an IR, keys in alphabetical order; only its parameters keep theirs, for forms show them in it."""
    import yaml

    return str(yaml.safe_dump_all(map(_ordered, documents), sort_keys=False, allow_unicode=True, width=100))


def _ordered(value: Any, place: tuple[str, ...] = ()) -> Any:
    if isinstance(value, list):
        return [_ordered(item, (*place, "")) for item in value]
    if not isinstance(value, dict):
        return value
    names = value if place == _PARAMETERS else sorted(value)
    return {name: _ordered(value[name], (*place, name)) for name in names}


def _content_keys(components: Mapping[str, Any], sources: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Return a digest of what each component is: its interface and its DAG's components or its executor's settings."""
    keys: dict[str, str] = {}

    def key(name: str) -> str:
        if name not in keys:
            component = dict(components[name])
            if "executorLabel" in component:
                component["executorLabel"] = [
                    executors.get(component["executorLabel"]) for executors in sources.values()
                ]
            if "dag" in component:
                inner = [(task, key(used)) for task, used in _tasks(component)]
                component["dag"] = {**_renamed(component, "", dict.fromkeys(components, ""))["dag"], "inner": inner}
            keys[name] = digest(component)
        return keys[name]

    for name in components:
        key(name)
    return keys


def _used(component: Mapping[str, Any], components: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield each task's name and component, outer DAGs before inner ones."""
    used = _tasks(component)
    yield from used
    for _, name in used:
        yield from _used(components[name], components)


def _tasks(component: Mapping[str, Any]) -> list[tuple[str, str]]:
    tasks = component.get("dag", {}).get("tasks", {})
    return [(name, tasks[name]["componentRef"]["name"]) for name in sorted(tasks)]


def _free(name: str, named: Mapping[str, str]) -> str:
    candidate, number = name, 1
    while candidate in named.values():
        number += 1
        candidate = f"{name}-{number}"
    return candidate


def _executor(component: str) -> str:
    return f"exec-{component.removeprefix('comp-')}"


def _renamed(component: Mapping[str, Any], name: str, names: Mapping[str, str]) -> dict[str, Any]:
    """Return the component with its executor named after `name` and its tasks' components by `names`."""
    made = dict(component)
    if "executorLabel" in made:
        made["executorLabel"] = _executor(name)
    if "dag" in made:
        tasks = {
            task: {**spec, "componentRef": {"name": names[spec["componentRef"]["name"]]}}
            for task, spec in made["dag"]["tasks"].items()
        }
        made["dag"] = {**made["dag"], "tasks": tasks}
    return made
