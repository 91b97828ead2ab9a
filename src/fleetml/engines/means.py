"""What a run cannot do without: looked for by every engine before its first step."""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Any

from fleetml import secrets
from fleetml.errors import ConfigurationError
from fleetml.images import Images
from fleetml.pipeline import Plan, Step, platform
from fleetml.runners import Runner
from fleetml.secrets import Lookup
from fleetml.settings import Settings


def require(
    plan: Plan,
    parameters: Mapping[str, Any],
    settings: Settings,
    runner: Runner,
    images: Images,
    lookup: Lookup,
    kept: Container[str] = (),
) -> None:
    """Refuse a run that could not get through: a step whatever happens needs an image, GPUs or a secret that are not
    here, or the artifact store is none.

    What a condition may leave out is told if it comes to that; steps in `kept` are done. Raises ConfigurationError,
    Unavailable.
    """
    if settings.store:
        from fleetml import artifact_store

        artifact_store.of(settings).ready()  # type: ignore[union-attr]
    certain = {name: step for name, step in plan.steps.items() if name not in kept and _is_certain(plan, step)}
    _require_secrets(plan, parameters, runner, lookup, certain)
    for name, step in certain.items():
        if step.container.image:
            try:
                images.resolve(step.container.image)
            except ConfigurationError as error:
                raise ConfigurationError(f"step '{name}': {error}") from None
            _require_gpus(step, runner)


def _is_certain(plan: Plan, step: Step) -> bool:
    """Say whether a step is run unless one before it fails."""
    return not any(task.guard for task in (step, *(plan.groups[group] for group in step.group)))


def _require_secrets(
    plan: Plan, parameters: Mapping[str, Any], runner: Runner, lookup: Lookup, certain: Container[str]
) -> None:
    """Refuse secrets that are not here, and two that one variable would hold, as far as their names are known."""
    if getattr(runner, "refers_to_secrets", False):
        return
    asked = {name: platform.known_secrets(step, parameters) for name, step in plan.steps.items()}
    secrets.require_distinct(entry for entries in asked.values() for entry in entries)
    for name, entries in asked.items():
        if entries and name in certain:
            secrets.delivered(entries, lookup, name)


def _require_gpus(step: Step, runner: Runner) -> None:
    resources = step.container.resources
    if resources.accelerator_count.isdecimal() and not hasattr(runner, "honours"):  # a cluster has its own
        from fleetml.runners import accelerators

        accelerators.require(resources, f"step '{step.name}'")
