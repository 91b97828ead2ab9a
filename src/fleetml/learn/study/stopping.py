"""When a study ends before its trials are done."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

from fleetml.frozen import mutable
from fleetml.learn.study.settings import StudySettings
from fleetml.learn.study.trial import Outcome

# A trial that has only a fraction of the usual time cannot win.
_LEAST = 0.2


@mutable
class Clock:
    """The time of a study, on `time.monotonic()` [s]."""

    settings: StudySettings
    begun: float

    @classmethod
    def start(cls, settings: StudySettings) -> Clock:
        return cls(settings, time.monotonic())

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.begun

    @property
    def end(self) -> float:
        return self.begun + self.settings.seconds

    def deadline(self) -> float:
        """Return when a trial that begins now should be done."""
        own = time.monotonic() + self.settings.trial_seconds
        return own if self.settings.counted else min(own, self.end)


def reason(clock: Clock, outcomes: Sequence[Outcome], running: int = 0) -> str:
    """Return why no further trial may begin, or "". One always begins."""
    settings = clock.settings
    left = clock.end - time.monotonic()
    if (outcomes or running) and left <= _LEAST * max((each.seconds for each in outcomes), default=0.0):
        return f"the budget of {settings.seconds:g} s is spent"
    if settings.patience and stagnant(outcomes, settings.directions[0]) >= settings.patience:
        return f"{settings.patience} trials brought nothing better (patience)"
    return ""


def stagnant(outcomes: Sequence[Outcome], direction: str) -> int:
    """Return how many finished trials came since the best feasible one, by its first objective."""
    sign = 1 if direction == "minimize" else -1
    best, since = math.inf, 0
    for each in outcomes:
        since += 1
        if each.values and not each.violation and sign * each.value < best:
            best, since = sign * each.value, 0
    return since
