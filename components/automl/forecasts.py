"""Which trials of a search of forecasters answer together: greedy selection, judged on windows later than those it was made by."""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from components.automl import ensemble as choice
from fleetml.learn import ensemble, search
from fleetml.learn.forecaster import Forecaster
from fleetml.learn.leaderboard import Result
from fleetml.learn.metrics import mase, window_mase
from fleetml.learn.search import Candidate
from fleetml.learn.windows import Windows

Answers = Mapping[int, npt.NDArray[np.float64]]  # by trial: forecasts [N, horizon]
Flags = npt.NDArray[np.bool_]
MOST_MEMBERS = 10
MOST_VALUES = 300_000  # of a member's forecasts, what the choice looks at
LATER = 1 / 3  # of the origins
SURE = 2.5  # standard errors by which the ensemble must be better
LATE = "no time was left to put more than one together"


@dataclass(frozen=True)
class Limits:
    """The most that a graph may take: median latency of one forecast on one thread [ms], size of its file."""

    latency_ms: float
    size_bytes: float

    def share(self, candidate: Candidate) -> float:
        """Return how much of its limits a candidate takes, the larger of both; at most 1 is inside."""
        return max(candidate.latency_ms / self.latency_ms, candidate.size_bytes / self.size_bytes)


@dataclass(frozen=True)
class Joined:
    """The ensemble and what each trial weighs in it, or why there is none.

    `later`: MASE of the best trial and of the ensemble on the later windows, both chosen by the earlier ones; NaN where nobody asked.
    """

    candidate: Candidate | None = None
    weights: Mapping[int, float] = field(default_factory=dict)
    reason: str = ""
    later: tuple[float, float] = (math.nan, math.nan)


def join(result: Result, val: Windows, seed: int, limits: Limits, deadline: float) -> Joined:
    """Return the ensemble of what trials kept, where it is clearly better than the best of them on windows that did not choose it.

    `val`: scored windows. By `deadline` [monotonic s] it is there; where the time is not enough for all trials, of the best ones.
    """
    some = _thinned(val)
    earlier, later = in_time(some)
    if not (earlier.any() and later.any()):
        why = "the origins of the validation windows span too little: the later third needs earlier ones whose targets end before it"
        return Joined(reason=why)
    found = _candidates(result)
    if len(found) < 2:
        return Joined(reason="there is no second model")
    said = _said(found, some, deadline)
    if len(said) < 2:
        return Joined(reason=LATE)
    *figures, error = _judged(said, some, earlier, later, seed, deadline)
    if not figures[0] - figures[1] > SURE * error:
        why = f"chosen by the earlier windows it has a MASE of {figures[1]:.4f} on the later ones, the best trial {figures[0]:.4f}"
        less = f"that is not less by {SURE:g} standard errors of the difference, {error:.4f} each"
        return Joined(reason=f"no ensemble: {why}; {less}", later=(figures[0], figures[1]))
    return _inside(result.incumbent(), found, said, some, val, seed, limits, deadline, (figures[0], figures[1]))


def in_time(windows: Windows) -> tuple[Flags, Flags]:
    """Return which windows choose, the earlier two thirds of the origins, and which judge: no target of the former is as late as theirs."""
    origins = np.unique(windows.origin)
    first = origins[min(len(origins) - 1, math.ceil((1 - LATER) * len(origins)))]
    reach = np.timedelta64(windows.meta.horizon * windows.meta.step_seconds, "s")
    return windows.origin + reach <= first, windows.origin >= first


def _thinned(val: Windows) -> Windows:
    """Return as many of the windows, spread over all, as make MOST_VALUES forecasts."""
    most = max(1, MOST_VALUES // val.meta.horizon)
    return val[np.unique(np.linspace(0, len(val) - 1, min(len(val), most)).astype(np.intp))]


def _candidates(result: Result) -> dict[int, Candidate]:
    """Return the best trial of each family, and the best others, by number: the best first.

    Of a long search's graphs no more are held at once than could be wanted.
    """
    found: dict[int, Candidate] = {}
    leading: dict[str, int] = {}
    others: list[int] = []
    for number, each in search.kept(result):
        if each.family not in leading:
            leading[each.family] = number
        elif len(others) < MOST_MEMBERS:
            others.append(number)
        else:
            continue
        found[number] = each
    surplus = set(others[max(0, MOST_MEMBERS - len(leading)) :])
    return {number: each for number, each in found.items() if number not in surplus}


def _said(found: Mapping[int, Candidate], windows: Windows, deadline: float) -> Answers:
    """Return the forecasts of as many candidates, the first first, as half of the time till `deadline` is enough for."""
    half, said = deadline - (deadline - time.monotonic()) / 2, {}
    for number, each in found.items():
        if time.monotonic() > half:
            break
        said[number] = Forecaster(each.graph.SerializeToString()).forecast(windows).astype(np.float64)
    return said


def _chosen(said: Answers, windows: Windows, seed: int, deadline: float) -> dict[int, float]:
    """Return what each trial weighs that has a say."""
    weights = choice.greedy(
        list(said.values()), windows.target, lambda _, each: _error(windows, each), seed, deadline
    ).values
    return {number: weight for number, weight in zip(said, weights, strict=True) if weight > 0}


def _judged(
    said: Answers, windows: Windows, earlier: Flags, later: Flags, seed: int, deadline: float
) -> tuple[float, float, float]:
    """Return the MASE on later windows of the trial and of the weights that are the best on earlier ones, and its standard error.

    The error is that of the mean difference; windows of a VM err alike, so it is over VMs.
    """
    before = {number: each[earlier] for number, each in said.items()}
    alone = min(before, key=lambda number: _error(windows[earlier], before[number]))
    weights = _chosen(before, windows[earlier], seed, deadline)
    single = said[alone][later].astype(np.float32)
    together = np.sum([weight * said[number][later] for number, weight in weights.items()], axis=0).astype(np.float32)
    judging = windows[later]
    apart = window_mase(judging, together) - window_mase(judging, single)
    vms = [apart[judging.vm_id == vm].mean() for vm in np.unique(judging.vm_id)]
    error = np.std(vms, ddof=1) / math.sqrt(len(vms)) if len(vms) > 1 else math.inf
    return mase(judging, single), mase(judging, together), float(error)


def _error(windows: Windows, said: npt.NDArray[np.float64]) -> float:
    return mase(windows, said.astype(np.float32))


def _inside(
    single: Candidate,
    found: Mapping[int, Candidate],
    said: Answers,
    some: Windows,
    val: Windows,
    seed: int,
    limits: Limits,
    deadline: float,
    figures: tuple[float, float],
) -> Joined:
    """Return the ensemble as the graph that it is; while that is over its limits, without the member that takes the most of them."""
    left = dict(said)
    while time.monotonic() < deadline:
        weights = _chosen(left, some, seed, deadline)
        if len(weights) < 2:
            return Joined(reason="no ensemble inside the limits is better than one model", later=figures)
        graph = ensemble.weighted([found[number].graph for number in weights], list(weights.values()))
        made = search.judged(graph, val, limits.latency_ms)
        if limits.share(made) <= 1:
            if made.validation_mase < single.validation_mase:
                return Joined(made, weights, later=figures)
            return Joined(reason="no ensemble inside the limits is better than one model", later=figures)
        del left[max(weights, key=lambda number: limits.share(found[number]))]
    return Joined(reason=LATE, later=figures)
