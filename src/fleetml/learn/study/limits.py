"""The limits of a stage's trials: none that crashes, hangs or takes all memory may cost more than itself."""

from __future__ import annotations

from typing import Any

# Of a search's seconds, what one trial may take where there are more than that many; what it is let go on after that, at least [s]
_SHARE, _SPARE, _LEAST_SPARE = 1 / 3, 1 / 6, 15.0
# How long [s] a trial goes on that no clock decides about, before it counts as hanging: so long at least, or so many times the search's seconds
_HANGS, _TIMES = 3_600.0, 10.0


def of_search(trials: int, seconds: float, memory_mb: int, counted: bool) -> dict[str, Any]:
    """Return the `StudySettings` that hold the trials of a search of so many `seconds` in processes that the search outlives.

    A trial is told to end after a third of them (or its equal share, if that is more), and is ended a sixth of them later, but not before
    15 s: so one that hangs leaves time for others, in a search of 30 s and more. Where the search is `counted`, a trial is ended after an hour, or
    ten times the seconds of the search. `memory_mb`: the most that one may add; 0: no limit.
    """
    shared: dict[str, Any] = {"memory_mb": memory_mb, "lasting": True}
    if counted or seconds == float("inf"):
        longest = max(_HANGS, _TIMES * seconds) if seconds < float("inf") else _HANGS
        return {**shared, "trial_seconds": longest, "counted": counted}
    own = max(_SHARE, 1 / max(1, trials)) * seconds
    return {**shared, "trial_seconds": own, "spare_seconds": max(_LEAST_SPARE, _SPARE * seconds)}
