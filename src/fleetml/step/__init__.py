"""A step is run here and nowhere else: inputs → executor input → runner → outputs → cache → record.

Every engine calls `run`; so a step means the same on each of them, and what one computed is another's hit.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from fleetml.events import Listener, ignore
from fleetml.images import Images
from fleetml.pipeline import Inputs, Step
from fleetml.runners import Runner, Usage
from fleetml.settings import Settings

__all__ = ["Failure", "RunContext", "StepOutcome", "run"]


@dataclass(frozen=True)
class RunContext:
    """The run a step belongs to, as every engine knows it. `names` are the run placeholders (`pipeline.placeholders`).

    `run_id` was minted by whoever started the run. `caching` False: run everything, but still store results.
    `engine` and `resume_command` only show in messages.
    """

    run_id: str
    pipeline: str
    settings: Settings
    images: Images
    caching: bool = True
    created: float = 0.0
    resume_command: str = ""

    def names(self, step: str) -> dict[str, str]:
        """Return the values of the run placeholders for `step`; hand them to `Plan.resolve` too."""
        raise NotImplementedError


@dataclass(frozen=True)
class Failure:
    """Why a step failed. `file` and `line` point into the user's code, "" and 0 when unknown."""

    type: str
    message: str
    file: str = ""
    line: int = 0
    user_error: bool = False

    def report(self) -> list[str]:
        """Return at most ten lines for a person: step, place, message, inputs, log, how to resume."""
        raise NotImplementedError


@dataclass(frozen=True)
class StepOutcome:
    """How a step ended. `to_json()` is what travels between engine tasks (docs/adr/0001), the rest is for display."""

    state: Literal["succeeded", "failed", "cancelled"]
    cached: bool = False
    parameters: Mapping[str, Any] = field(default_factory=dict)
    artifacts: Mapping[str, list[dict[str, Any]]] = field(default_factory=dict)
    failure: Failure | None = None
    usage: Usage = field(default_factory=Usage)
    cost: Mapping[str, float] = field(default_factory=dict)
    attempt: int = 0

    @property
    def figures(self) -> dict[str, Any]:
        """The first three entries of the metadata of its metrics artifact."""
        raise NotImplementedError

    def to_json(self) -> dict[str, Any]:
        """Return state, cached, parameters, artifacts."""
        return {
            "state": self.state,
            "cached": self.cached,
            "parameters": dict(self.parameters),
            "artifacts": dict(self.artifacts),
        }


def run(
    step: Step,
    inputs: Inputs,
    context: RunContext,
    runner: Runner,
    notify: Listener = ignore,
    cancel: threading.Event | None = None,
) -> StepOutcome:
    """Run one attempt of `step` and return how it ended; a failed step is a returned outcome, not an exception.

    `inputs` are `Plan.resolve`'s. The attempt's record and log are written under the run's folder whatever happens.
    Setting `cancel` stops the step and its children. Raises Unavailable only where not even the record can be written.
    """
    raise NotImplementedError
