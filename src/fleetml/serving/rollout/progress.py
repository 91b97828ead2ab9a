"""What the controller remembers of a rollout: its step and since when, its tests, what it found last. Standard library only.

rollouts/<model>.json
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fleetml import atomic
from fleetml.errors import InvalidData
from fleetml.serving.deployment import Rollout
from fleetml.serving.rollout.actions import ROLLOUTS


@dataclass(frozen=True)
class State:
    """`share` since `step_began` (ISO 8601); `tests` are the fields of `decision.Progress`; `found`: what the last look told."""

    rollout: str
    share: float
    step_began: str
    tests: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    found: Mapping[str, Any] = field(default_factory=dict)


def began(rollout: Rollout) -> datetime:
    """Return when a rollout began, which its id says. Raises InvalidData for an id that says nothing."""
    try:
        return datetime.strptime(rollout.id.rpartition("-")[2], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError as error:
        raise InvalidData(
            f"the id of a rollout ends in its start, as 8-20261121T120000Z, got {rollout.id!r}; roll it back"
        ) from error


def read(root: Path, name: str) -> State | None:
    """Return what is remembered of the last rollout of a model; None: nothing that can be read."""
    try:
        return State(**json.loads((root / ROLLOUTS / f"{name}.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def of(root: Path, name: str, rollout: Rollout, now: datetime) -> State:
    """Return what is known of a rollout; a share that is new, by whomever, begins a step. Raises InvalidData."""
    state = read(root, name)
    if state is None or state.rollout != rollout.id:
        return State(rollout.id, rollout.share, began(rollout).isoformat())
    if state.share != rollout.share:
        return replace(state, share=rollout.share, step_began=now.isoformat())
    return state


def write(root: Path, name: str, state: State) -> None:
    """Keep it. Raises OSError."""
    atomic.write_json(root / ROLLOUTS / f"{name}.json", asdict(state))
