"""What the cells of the AutoML benchmark say: ranks, normalised scores, accuracy, latency, and whether the goals are met.

Accuracy is the share of rows whose most probable class is true. `PUBLISHED`: the highest mean over the 10 folds of a framework of AMLB
2019 (8 cores, 1 h; other folds than ours), the column acc of published_amlb2019_results in tabular_amlb. The goal, above 95 %, holds for
the sets on which the best published one is above that.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.cells import Cell
from benchmarks.goals import Figure

OURS = "fleetml"
PUBLISHED = {
    "kr-vs-kp": 0.9966,
    "phoneme": 0.9184,
    "vehicle": 0.8274,
    "blood-transfusion": 0.7861,
    "credit-g": 0.767,
}  # accuracy
ACCURATE, CONVERGED = 0.95, 1800.0  # the goals: share of rows, seconds
LATENCY_MS = 10.0
Score = dict[str, Any]  # the figures of a cell


def report(done: Mapping[Cell, Mapping[str, Any]]) -> Iterator[Figure]:
    """Yield what the cells `done` say: of each set, of each system over all sets, and whether the goals are met."""
    systems = list(dict.fromkeys(each.system for each in done))
    rows: dict[tuple[str, int, int], dict[str, Score]] = {}
    for each, line in done.items():
        rows.setdefault((each.data, each.fold, each.seed), {})[each.system] = line["figures"]
    whole = {key: found for key, found in rows.items() if set(found) == set(systems)}
    sets = list(dict.fromkeys(data for data, _, _ in whole))
    for data in sets:
        mine = [found for key, found in whole.items() if key[0] == data]
        yield from _of_set(data, systems, mine)
        yield from _accuracies(data, systems, mine)
    if not sets:
        return
    places = {system: [_mean(_ranks(whole, data, systems)[system]) for data in sets] for system in systems}
    for system in systems:
        low, high = _interval(places[system])
        yield (
            f"{system}: mean rank over {len(sets)} sets",
            _mean(places[system]),
            f"of {len(systems)} (95 %: {low:.2f} to {high:.2f})",
        )
        yield f"{system}: normalised score, mean", _mean([_normal(whole, data, system) for data in sets]), ""
        scored = [found[system] for found in whole.values()]
        yield (
            f"{system}: one ONNX graph, p99 at most {LATENCY_MS:g} ms",
            _mean([_deployable(each) for each in scored]),
            "share of cells",
        )
        yield (
            f"{system}: p99 of one row at most {LATENCY_MS:g} ms",
            _mean([_quick(each) for each in scored]),
            "share of cells",
        )
        yield (
            f"{system}: seconds of the fit, the most",
            max((each.get("fit_seconds", math.inf) for each in scored), default=0.0),
            "s",
        )
    yield from _goals(whole, sets, places)


def _of_set(data: str, systems: list[str], found: list[dict[str, Score]]) -> Iterator[Figure]:
    metric = next((each["metric"] for cell in found for each in cell.values() if "metric" in each), "")
    for system in systems:
        scores = [each[system]["score"] for each in found if "score" in each[system]]
        failed = len(found) - len(scores)
        yield f"{data}: {system}", _mean(scores), metric + (f" ({failed} failed)" if failed else "")


def _accuracies(data: str, systems: list[str], found: list[dict[str, Score]]) -> Iterator[Figure]:
    """Yield the mean accuracy of each system on a set of classes, ours with its goal, over the cells that tell it (older ones do not)."""
    for system in systems if data in PUBLISHED else ():
        told = [each[system]["accuracy"] for each in found if "accuracy" in each[system]]
        goal = system == OURS and PUBLISHED[data] > ACCURATE
        if told or goal:
            unit = f"share of rows, best published {PUBLISHED[data]:g}, {len(told)} of {len(found)} cells tell it"
            met = "met" if told and _mean(told) > ACCURATE else "NOT MET"
            yield f"{data}: {system}: accuracy", _mean(told), unit + (f" ({met}: above {ACCURATE:g})" if goal else "")


def _converges(found: Sequence[Score]) -> Iterator[Figure]:
    """Yield the latest second of our convergence, by cells that did not fail."""
    seconds = [each["converged"] for each in found if math.isfinite(each.get("converged", math.nan))]
    if seconds:
        told = "met" if max(seconds) < CONVERGED and len(seconds) == len(found) else "NOT MET"
        missing = f", {len(found) - len(seconds)} cells do not tell" if len(found) > len(seconds) else ""
        yield "goal: AutoML converges, the slowest cell", max(seconds), f"s ({told}: below {CONVERGED:g}{missing})"


def _worth(found: Score) -> float:
    """Return a score of which more is better; minus infinity of what failed."""
    if "score" not in found:
        return -math.inf
    return found["score"] if found["metric"] == "roc_auc" else -found["score"]


def _ranks(whole: Mapping[Any, dict[str, Score]], data: str, systems: list[str]) -> dict[str, list[float]]:
    from scipy.stats import rankdata

    ranks: dict[str, list[float]] = {system: [] for system in systems}
    for key, found in whole.items():
        if key[0] == data:
            for system, rank in zip(systems, rankdata([-_worth(found[system]) for system in systems]), strict=True):
                ranks[system].append(float(rank))
    return ranks


def _normal(whole: Mapping[Any, dict[str, Score]], data: str, system: str) -> float:
    """Return (score - constant) / (best - constant), the mean over the cells of a set; a failure is 0, what is worse too."""
    values = []
    for key, found in whole.items():
        if key[0] == data:
            base = (
                _worth(
                    found[system] | {"score": next(each["constant"] for each in found.values() if "constant" in each)}
                )
                if "score" in found[system]
                else 0.0
            )
            best = max(_worth(each) for each in found.values())
            values.append(
                max(0.0, (_worth(found[system]) - base) / (best - base))
                if "score" in found[system] and best > base
                else 0.0
            )
    return _mean(values)


def _quick(found: Score) -> bool:
    return found.get("p99_ms", math.inf) <= LATENCY_MS


def _deployable(found: Score) -> bool:
    return bool(found.get("one_graph")) and _quick(found)


def _goals(
    whole: Mapping[Any, dict[str, Score]], sets: list[str], places: Mapping[str, list[float]]
) -> Iterator[Figure]:
    if OURS not in places:
        return
    mine = _mean(places[OURS])
    yield from _converges([found[OURS] for found in whole.values()])
    if "flaml" in places:
        met = mine < _mean(places["flaml"])
        yield "goal: mean rank ahead of FLAML's", mine - _mean(places["flaml"]), _told(met, whole, "flaml")
    for other in (name for name in places if name.startswith("autogluon")):
        yield f"beside {other}, whatever its latency: mean rank", mine - _mean(places[other]), "less is better"
        pair = [OURS, other]
        limited = {
            key: {name: found[name] if _quick(found[name]) else {} for name in pair} for key, found in whole.items()
        }
        ours, theirs = ([_mean(_ranks(limited, data, pair)[name]) for data in sets] for name in pair)
        yield (
            f"goal: rank ahead of {other} under p99 of {LATENCY_MS:g} ms (what exceeds it has failed)",
            _mean(ours) - _mean(theirs),
            _told(_mean(ours) < _mean(theirs), whole, other),
        )
        wins = sum(_worth(found[OURS]) > _worth(found[other]) for found in whole.values())
        ties = sum(_worth(found[OURS]) == _worth(found[other]) for found in whole.values())
        yield f"cells won against {other}", float(wins), f"of {len(whole)}, {ties} ties"


def _told(met: bool, whole: Mapping[Any, dict[str, Score]], other: str) -> str:
    """Return whether a goal is met; it is not while cells of the other one have failed, which say nothing of how good it is."""
    failed = sum("score" not in found[other] for found in whole.values())
    return f"NOT MET: {failed} cells of {other} failed" if failed else "met" if met else "NOT MET"


def _mean(values: Any) -> float:
    return float(np.mean(values)) if len(values) else math.nan


def _interval(values: list[float], draws: int = 2000) -> tuple[float, float]:
    """Return the 95 % interval of a mean over sets, by the bootstrap."""
    random = np.random.default_rng(0)
    means = random.choice(values, (draws, len(values))).mean(axis=1)
    return float(np.quantile(means, 0.025)), float(np.quantile(means, 0.975))
