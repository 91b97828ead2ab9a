"""One trial as the objective sees it, and what became of it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from numbers import Integral
from pathlib import Path
from typing import Any

from fleetml.frozen import field, frozen, mutable

Values = float | Sequence[float]
# What an outcome's `state` may be: the first has values, the others have a reason
STATES = ("complete", "pruned", "failed", "crashed", "late", "memory", "nan")


class Pruned(Exception):
    """The trial is not worth its further cost; an objective may raise it too."""


@mutable
class Trial:
    """`params` by name, `seed` (its own, of the study's), `deadline` [s of `time.monotonic()`], when it should have ended,
    `study_end`, when the study's time is over.

    `ask_pruner(step, value)` returns why to end, or "".
    """

    number: int
    params: Mapping[str, Any]
    seed: int
    deadline: float
    kept_at: Path
    ask_pruner: Callable[[int, float], str]
    constraints: dict[str, float] = field(default_factory=dict)
    notes: dict[str, Any] = field(default_factory=dict)
    study_end: float = math.inf

    def report(self, step: int, value: float) -> None:
        """Tell the pruner how good the trial is by now. Raises Pruned, and ValueError for a step that is not a whole number from 0."""
        if isinstance(step, bool) or not isinstance(step, Integral) or step < 0:
            raise ValueError(f"the step of a report must be a whole number of at least 0, got {step!r}; count from 0")
        if why := self.ask_pruner(int(step), float(value)):
            raise Pruned(why)

    def constrain(self, name: str, value: float) -> None:
        """Set a constraint: at most 0 is feasible. Every trial that completes must set the same ones. Raises ValueError."""
        if not math.isfinite(value):
            raise ValueError(f"constraint {name!r} must be a finite number, got {value}; measure it again")
        self.constraints[name] = float(value)

    def note(self, name: str, value: Any) -> None:
        """Keep a figure or a text with the outcome (`Outcome.notes`). Raises TypeError for what JSON cannot say."""
        json.dumps(value)
        self.notes[name] = value

    def keep(self, content: bytes) -> None:
        """Keep what was made, for the caller of the study (`StudyResult.kept`)."""
        from fleetml.atomic import aside

        with aside(self.kept_at) as temporary:
            temporary.write_bytes(content)


@frozen
class Outcome:
    """What became of a trial; `values` is empty unless it is complete."""

    number: int
    params: Mapping[str, Any]
    state: str
    values: tuple[float, ...] = ()
    reason: str = ""
    seconds: float = 0.0
    constraints: Mapping[str, float] = field(default_factory=dict)
    notes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def value(self) -> float:
        """The value of the first objective; NaN where there is none."""
        return self.values[0] if self.values else math.nan

    @property
    def violation(self) -> float:
        """By how much the constraints are broken in all; 0 of a feasible trial."""
        return sum(max(0.0, value) for value in self.constraints.values())


def attempt(objective: Callable[[Trial], Values], trial: Trial, objectives: int) -> Outcome:
    """Run one trial in this process, whatever an exception makes of it."""
    state, reason = "complete", ""
    values: tuple[float, ...] = ()
    try:
        values, reason = _checked(objective(trial), objectives)
        state = "nan" if reason else state
    except Pruned as pruned:
        state, reason = "pruned", str(pruned)
    except Exception as error:  # one bad point of the space must not end the study
        state = "memory" if isinstance(error, MemoryError) else "failed"
        reason = f"{type(error).__name__}: {error}".removesuffix(": ")
    return Outcome(trial.number, trial.params, state, values, reason, 0.0, trial.constraints, trial.notes)


def _checked(said: Values, objectives: int) -> tuple[tuple[float, ...], str]:
    values = tuple(float(each) for each in said) if isinstance(said, Sequence) else (float(said),)
    if len(values) != objectives:
        raise ValueError(f"an objective must return {objectives} values, one a direction, got {len(values)}")
    if not all(map(math.isfinite, values)):
        return (), f"it returned {', '.join(map(str, values))}"
    return values, ""
