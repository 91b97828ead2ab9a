"""What a step tells while it runs: engines hand `step.run` a listener and show, log or forward what comes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from fleetml.frozen import frozen


@frozen
class StepStarted:
    """The step's command is about to start (never sent for a cache hit); `log` is where its output goes."""

    step: str
    attempt: int
    log: Path


@frozen
class StepLine:
    """One line of the step's output."""

    step: str
    line: str


@frozen
class StepEnded:
    """The step is over; `outcome` is the `fleetml.step.StepOutcome`."""

    step: str
    outcome: Any


Event = StepStarted | StepLine | StepEnded
Listener = Callable[[Event], None]


def ignore(event: Event) -> None:
    """The listener of those who do not listen."""
