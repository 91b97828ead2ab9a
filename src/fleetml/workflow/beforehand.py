"""What steps of our own components would refuse, refused before the first one where the run's parameters show it already."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from fleetml import ranges
from fleetml.errors import InvalidParameter
from fleetml.pipeline import Plan, Step


def check(plan: Plan, bound: Mapping[str, Any], kept: Collection[str] = (), here: bool = True) -> None:
    """Raise InvalidParameter for a number out of its range, and (where steps run `here`) for data that are not there.

    `bound` as in `Plan.bind`, `kept` are the steps that are not run again. What a condition may leave out, and data without
    which a part of the pipeline still comes to its end, are told if it comes to that; what an earlier step writes is not
    there yet.
    """
    ranges.check(plan, bound, kept)
    if not here:
        return
    written = {
        value for step in plan.steps.values() for name, _, value in ranges.known(step, bound) if name == "output_path"
    }
    for step in ranges.unconditional(plan, kept):
        for name, given, value in ranges.known(step, bound):
            if name in ("dataset_path", "source") and value not in written and _is_vital(step, plan):
                require_data(value, f"parameter '{given}' of step '{step.name}'")


def _is_vital(step: Step, plan: Plan) -> bool:
    """Say whether all that the pipeline comes to needs a step."""
    needing = {step.name}
    for name, other in plan.steps.items():
        if not other.runs_after_failure and not needing.isdisjoint(other.upstream):
            needing.add(name)
    followed = {before for other in plan.steps.values() for before in other.upstream}
    return all(name in needing for name in plan.steps if name not in followed)


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
