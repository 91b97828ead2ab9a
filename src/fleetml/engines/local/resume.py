"""What of an earlier attempt at a run still stands."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from fleetml import artifact_store, artifacts, cache
from fleetml.engines.local.schedule import items_of
from fleetml.frozen import frozen
from fleetml.pipeline import Plan
from fleetml.pipeline.model import Loop
from fleetml.records import Attempt, Run
from fleetml.runners import choice
from fleetml.settings import Settings
from fleetml.step import RunContext


@frozen
class Kept:
    """The outcomes a resumed run starts from: of steps that succeeded or were skipped.

    `stale` are kept steps that would be computed differently today, and what changed; `damaged` are steps
    whose result is not what it was, so they run again with all that follows them.
    """

    outcomes: Mapping[str, Mapping[str, Any]]
    stale: Mapping[str, str]
    damaged: tuple[str, ...]


def finished(records: Run, plan: Plan, settings: Settings, recheck: bool = False) -> Kept:
    """Return what a resumed run keeps: the steps that are done, and whose upstream needs not run again.

    With `recheck` stale steps run again too.
    """
    document = records.read()
    context = RunContext(
        records.run_id, plan.name, settings, choice.images(settings), document.get("started", time.time())
    )
    latest = records.latest()
    outcomes: dict[str, Mapping[str, Any]] = {}
    stale: dict[str, str] = {}
    damaged: list[str] = []
    looked_at: set[str] = set()
    items: dict[str, Sequence[Any]] = {}
    unfolding = True
    while unfolding:
        for name, step in plan.steps.items():
            attempt = latest.get(name)
            if attempt is None or attempt.outcome is None or attempt.state not in ("succeeded", "skipped"):
                continue
            if name in looked_at or any(before not in outcomes for before in step.upstream):
                continue  # what it was made from, or decided by, is made again
            looked_at.add(name)
            if not _intact(attempt.outcome, settings):
                damaged.append(name)
                continue
            changed = _changes(attempt, plan, document["parameters"], outcomes, context)
            if changed and recheck:
                continue
            if changed:
                stale[name] = changed
            outcomes[name] = attempt.outcome
        found = _items(plan, document["parameters"], outcomes)
        unfolding = bool(found)
        plan, items = (plan.unfold({**items, **found}), {**items, **found}) if found else (plan, items)
    return Kept(outcomes, stale, tuple(damaged))


def _items(
    plan: Plan, parameters: Mapping[str, Any], outcomes: Mapping[str, Mapping[str, Any]]
) -> dict[str, Sequence[Any]]:
    """Return the items of the loops that can be unfolded by what is kept."""
    found: dict[str, Sequence[Any]] = {}
    for name, step in plan.steps.items():
        ready = isinstance(step, Loop) and name not in outcomes and all(before in outcomes for before in step.upstream)
        if ready and plan.decide(name, parameters, outcomes).action == "run":
            found[name] = items_of(plan.resolve(name, parameters, outcomes, {}))
    return found


def _intact(outcome: Mapping[str, Any], settings: Settings) -> bool:
    """What lies in a remote place that is not our store is taken on trust."""
    store = artifact_store.of(settings)
    items = (item for items in outcome["artifacts"].values() for item in items)
    return all(store.holds(item) if store else artifacts.intact(item) for item in items if item["digest"])


def _changes(
    attempt: Attempt,
    plan: Plan,
    parameters: Mapping[str, Any],
    outcomes: Mapping[str, Mapping[str, Any]],
    context: RunContext,
) -> str:
    """Return which parts of a step's key differ from those it was run with; "" for none, or no key."""
    if not attempt.key or not attempt.parts:
        return ""
    step = plan.steps[attempt.step]
    inputs = plan.resolve(attempt.step, parameters, outcomes, context.names(attempt.step))
    now = cache.key(step, inputs, context.images.resolve(step.container.image))
    if now is None or now.digest == attempt.key:
        return ""
    return ", ".join(name for name, part in now.parts.items() if attempt.parts.get(name) != part)
