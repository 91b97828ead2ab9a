"""Why a step was reused or run: the parts of its key against those of the nearest earlier result."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from fleetml.cache.stores import Store
from fleetml.frozen import frozen
from fleetml.pipeline import load
from fleetml.records import Attempt, Run, runs

_WORDS = {
    "command": "the command, its arguments or variables in the pipeline",
    "definitions": "the inputs and outputs the component declares",
    "parameters": "parameters",
    "artifacts": "the content of its input artifacts",
    "environment": "the environment: its lock, Python or platform, or the container image",
    "code": "the code of its stage, or code that all stages share",
}


@frozen
class _Earlier:
    """What a step was computed as before; `inputs` are known as long as its run's record is kept."""

    place: str
    key: str
    parts: Mapping[str, str]
    created: float
    inputs: Mapping[str, Any]


def changed(parts: Mapping[str, str], before: Mapping[str, str]) -> list[str]:
    """Return the names of the parts of a key that differ."""
    return [name for name, part in parts.items() if before.get(name) != part]


def explain(home: Path, store: Store, run_id: str, step: str) -> list[str]:
    """Return lines for a person: whether the step was reused, and why not where it was run.

    Raises ConfigurationError when there is no such run; Unavailable when the cache must be asked and does not answer.
    """
    records = Run(home, run_id)
    document, attempts = records.read(), records.attempts(step)
    if not attempts:
        return [f"{step} has not run yet"]
    attempt = attempts[-1]
    if attempt.reason:
        return [f"{attempt.state}: {attempt.reason}"]
    if attempt.cached:
        return [_origin(store, attempt)]
    if not attempt.key or attempt.parts is None:
        return [f"run: {_never(records, home, step)}"]
    earlier = list(_earlier(home, store, document, attempt))
    if not earlier:
        return [f"run: nothing was computed before for step {step} of {document['pipeline']}"]
    same = [other for other in earlier if other.key == attempt.key]
    if same:
        return [f"run: its key is that of {_shown(same[-1])}, but {_unused(document, records, attempt)}"]
    nearest = max(earlier, key=lambda other: (-len(changed(attempt.parts or {}, other.parts)), other.created))
    lines = [f"run: since {_shown(nearest)}, the nearest earlier result, there changed"]
    return lines + [
        f"  {name}: {detail}"
        for name in changed(attempt.parts, nearest.parts)
        for detail in _details(name, attempt.inputs or {}, nearest.inputs)
    ]


def _origin(store: Store, attempt: Attempt) -> str:
    entry = store.get(attempt.key)
    known = entry is not None and entry.result == attempt.result
    by = f", computed by step {entry.step} of run {entry.run} at {_time(entry.created)}" if known and entry else ""
    return f"reused: result {attempt.result}{by}"


def _never(records: Run, home: Path, name: str) -> str:
    step = load(records.pipeline, home / "ir").steps.get(name)
    if step is not None and not step.cacheable:
        return "the pipeline does not let its results be reused (compiled with caching off, or made for one run)"
    return "its result is never reused (it reads an artifact whose content nobody knows, or brings one in)"


def _unused(document: Mapping[str, Any], records: Run, attempt: Attempt) -> str:
    if not document.get("caching", True):
        return "the run was started with --no-cache"
    log = records.log(attempt.step, attempt.number)
    for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if log else ():
        if line.startswith("fleetml: the cache"):
            return f"it could not be reused: {line.removeprefix('fleetml: ')}"
    return "its entry was gone: removed, too old, or in another cache"


def _earlier(home: Path, store: Store, document: Mapping[str, Any], attempt: Attempt) -> Iterator[_Earlier]:
    """Yield what the step's results were computed from before: what records and the cache's entries know."""
    for other in runs(home):
        if other["pipeline"] != document["pipeline"]:
            continue
        for found in Run(home, other["run_id"]).attempts(attempt.step):
            if found.state == "succeeded" and found.parts and found.started < attempt.started:
                yield _Earlier(f"run {other['run_id']}", found.key, found.parts, found.started, found.inputs or {})
    for key, entry in store.entries():
        if (entry.step, entry.pipeline) == (attempt.step, document["pipeline"]) and entry.created < attempt.started:
            yield _Earlier(f"run {entry.run}", key, entry.parts, entry.created, {})


def _details(part: str, now: Mapping[str, Any], before: Mapping[str, Any]) -> list[str]:
    if part not in ("parameters", "artifacts") or part not in before:
        return [_WORDS.get(part, part)]
    old, new = before[part], now.get(part, {})
    names = [name for name in {**old, **new} if old.get(name) != new.get(name)]
    if part == "artifacts":
        return [f"the content of {name}" for name in names] or [_WORDS[part]]
    return [f"{name} {_value(old, name)} → {_value(new, name)}" for name in names] or [_WORDS[part]]


def _value(values: Mapping[str, Any], name: str) -> str:
    text = repr(values[name]) if name in values else "nothing"
    return text if len(text) <= 60 else f"{text[:60]}…"


def _shown(earlier: _Earlier) -> str:
    return f"{earlier.place} ({_time(earlier.created)})"


def _time(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
