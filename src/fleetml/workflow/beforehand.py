"""What steps of our own components would refuse, refused before the first one where the run's parameters show it already."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from fleetml.errors import InvalidParameter
from fleetml.pipeline import Plan, Step
from fleetml.pipeline.model import Constant, PipelineInput, Source

_OURS = ("python", "-m", "fleetml.component")
_COUNTS = (
    "context",
    "horizon",
    "max_windows",
    "test_windows",
    "max_rows",
    "epochs",
    "width",
    "trials",
    "timeout_seconds",
)
_EPISODES = ("train_episodes", "test_episodes", "rounds", "local_epochs", "clients")
LEAST = {**dict.fromkeys((*_COUNTS, *_EPISODES), 1), "seed": 0}
"""The least that a parameter of this name may be in any of our components; some of them want more."""


def check(plan: Plan, bound: Mapping[str, Any], kept: Collection[str] = (), here: bool = True) -> None:
    """Raise InvalidParameter for a count below its least, and (where steps run `here`) for data that are not there.

    `bound` as in `Plan.bind`, `kept` are the steps that are not run again. What a condition may leave out, and data without
    which a part of the pipeline still comes to its end, are told if it comes to that; what an earlier step writes is not
    there yet.
    """
    steps = plan.steps.values()
    written = {value for step in steps for name, _, value in _known(step, bound) if name == "output_path"}
    for step in steps:
        tasks = (step, *(plan.groups[group] for group in step.group))
        if step.name in kept or any(task.guard for task in tasks):
            continue
        for name, given, value in _known(step, bound):
            place = f"parameter '{given}' of step '{step.name}'"
            if name in LEAST and isinstance(value, int | float) and not value >= LEAST[name]:
                raise InvalidParameter(f"{place} must be at least {LEAST[name]}, got {value}; give a greater number")
            if here and name in ("dataset_path", "source") and value not in written and _is_vital(step, plan):
                require_data(value, place)


def _is_vital(step: Step, plan: Plan) -> bool:
    """Say whether all that the pipeline comes to needs a step."""
    needing = {step.name}
    for name, other in plan.steps.items():
        if not other.runs_after_failure and not needing.isdisjoint(other.upstream):
            needing.add(name)
    followed = {before for other in plan.steps.values() for before in other.upstream}
    return all(name in needing for name in plan.steps if name not in followed)


def _known(step: Step, bound: Mapping[str, Any]) -> Iterator[tuple[str, str, Any]]:
    """Yield the parameters of a step of ours that are known before the run: its name, that which a person gives, the value."""
    if step.container.command[:3] != _OURS or not "".join(step.container.command[3:4]).startswith("components."):
        return
    for name, source in step.parameters.items():
        given, value = _value(name, source, bound)
        if value is not None:
            yield name, given, value


def _value(name: str, source: Source, bound: Mapping[str, Any]) -> tuple[str, Any]:
    if isinstance(source, PipelineInput):
        return source.name, bound.get(source.name)
    return name, source.value if isinstance(source, Constant) else None


def require_data(value: Any, place: str) -> None:
    """Raise InvalidParameter for a path that is not there, or is none that a step would find."""
    if not isinstance(value, str) or not value or "://" in value or any(letter in value for letter in "*?["):
        return
    path = Path(value).expanduser()
    if not path.exists():
        raise InvalidParameter(f"{place} must be a file, a folder or a URL that is there, {value} is not; correct it")
    if not path.is_absolute():
        raise InvalidParameter(
            f"{place} must be an absolute path, for steps have folders of their own, got {value}; give {path.absolute()}"
        )
