"""What stands beside the study of the architecture search: the untrained mixture, judged once, no trial of the study."""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fleetml.learn import mixture_candidate
from fleetml.learn.graph import InvalidGraph
from fleetml.learn.leaderboard import Outcome
from fleetml.learn.limits import Limits, Price
from fleetml.learn.windows import Windows

if TYPE_CHECKING:
    from fleetml.learn.search import Candidate
    from fleetml.learn.study.loop import StudyResult

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Beside:
    """A candidate, what it costs, why it may not be chosen ("" where it may), and how long [s] that took."""

    candidate: Candidate
    price: Price
    reason: str
    seconds: float

    def line(self, trial: int) -> Outcome:
        """Return its line of the leaderboard."""
        said = self.candidate
        state, reason = ("infeasible", self.reason) if self.reason else ("trained", "untrained: it has no parameters")
        found = json.dumps(said.hyperparameters)
        return Outcome(
            trial,
            said.family,
            found,
            state,
            said.validation_mase,
            round(self.seconds, 3),
            said.size_bytes,
            said.latency_ms,
            reason,
        )

    def better(self, best: Candidate | None, met: bool) -> bool:
        """Return whether it is to be chosen rather than the study's best, which keeps the limits or not."""
        if best is None:
            return not math.isnan(self.candidate.validation_mase)
        return not self.reason and (not met or self.candidate.validation_mase < best.validation_mase)

    def values(self, second: str) -> tuple[float, ...]:
        """Return its objectives: error, and what `second` names of its price."""
        return (self.candidate.validation_mase, *([float(getattr(self.price, second))] if second else []))


def mixture(val: Windows, limits: Limits, seconds: float) -> Beside | None:
    """Return the mixture, judged within `seconds`; None, and the log says why, where the windows are too short for it or its
    graph does not say what its network does.
    """
    begun = time.monotonic()
    if why := mixture_candidate.why_not(val.meta):
        log.info("%s", why)
        return None
    try:
        graph = mixture_candidate.made(val)
    except InvalidGraph as error:  # a family beside the search must not cost what the search finds
        log.warning("the family mixture is left out: %s", error)
        return None
    candidate, price, reason = mixture_candidate.judged(graph, val, limits, seconds)
    log.info("mixture, untrained: %s", reason or f"MASE {candidate.validation_mase:.4f}, {price.latency_ms:.2f} ms")
    return Beside(candidate, price, reason, time.monotonic() - begun)


def front(found: StudyResult, beside: Beside | None, second: str) -> set[int]:
    """Return the numbers of the trials that nothing beats in all objectives; the number after the last is the candidate beside them."""
    mine = {each.number: each.values for each in found.front}
    if beside is not None and not beside.reason:
        mine[after(found)] = beside.values(second)
    return {number for number, values in mine.items() if not any(_beats(other, values) for other in mine.values())}


def after(found: StudyResult) -> int:
    """Return the number after the last trial's."""
    return max((each.number for each in found.outcomes), default=-1) + 1


def _beats(one: Sequence[float], other: Sequence[float]) -> bool:
    return one != other and all(a <= b for a, b in zip(one, other, strict=True))
