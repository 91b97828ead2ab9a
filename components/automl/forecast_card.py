"""The page of a search of forecasters: its card, its learning curve, what the model depends on, every trial."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from components.automl import page
from components.automl.forecasts import Joined, Limits
from fleetml.learn.leaderboard import Outcome, Result
from fleetml.learn.windows import Windows

METRIC = "validation_mase"


def render(
    result: Result,
    joined: Joined,
    train: Windows,
    val: Windows,
    limits: Limits,
    importance: Mapping[str, float],
    seed: int,
) -> str:
    """Return the page, one HTML file; `importance` is empty where no time was left."""
    card = describe(result, joined, train, val, limits, seed)
    trials = [each for each in result.outcomes if each.state != "joined"]
    explained = {"forecasts": importance} if importance else {}
    return page.render(card, [_row(each, joined) for each in _best_first(result.outcomes)], curve(trials), explained)


def describe(result: Result, joined: Joined, train: Windows, val: Windows, limits: Limits, seed: int) -> dict[str, Any]:
    """Return the card: what was found, by which windows, inside which limits."""
    best, meta = result.incumbent(), train.meta
    single, together = joined.later
    return {
        "target": meta.target,
        "algorithm": best.family,
        "metric": METRIC,
        "score": round(best.validation_mase, 4),
        "horizon": meta.horizon,
        "context": meta.context,
        "step_seconds": meta.step_seconds,
        "train_windows": len(train),
        "validation": f"{len(val)} windows later than those learnt from",
        "members": [f"{weight:.2f} of trial {number}" for number, weight in joined.weights.items()],
        "best_trial_on_later_windows": _known(single),
        "ensemble_on_later_windows": _known(together),
        "latency_ms": best.latency_ms,
        "latency_limit_ms": limits.latency_ms,
        "size_bytes": best.size_bytes,
        "size_limit_bytes": limits.size_bytes,
        "budget_met": limits.share(best) <= 1,
        "trials": sum(each.state != "joined" for each in result.outcomes),
        "seconds": round(result.seconds, 1),
        "seed": seed,
        "notes": [],
        "reason": joined.reason,
    }


def curve(trials: Sequence[Outcome]) -> list[tuple[float, float]]:
    """Return the learning curve: seconds that trials took until then, and the error of the best by then."""
    second, best, points = 0.0, float("inf"), []
    for each in sorted(trials, key=lambda each: each.trial):
        second += each.seconds
        if each.state == "trained" and each.validation_mase < best:
            best = each.validation_mase
            points.append((round(second, 2), best))
    return points


def _best_first(outcomes: Sequence[Outcome]) -> list[Outcome]:
    return sorted(outcomes, key=lambda each: (math.isnan(each.validation_mase), each.validation_mase))


def _row(each: Outcome, joined: Joined) -> dict[str, Any]:
    joins = each.state == "joined"
    return {
        "name": "the ensemble" if joins else f"{each.family}-{each.trial}",
        METRIC: _known(each.validation_mase),
        "state": each.state,
        "seconds": each.seconds,
        "weight": 1.0 if joins else joined.weights.get(each.trial, 0.0),
        "finished_as": f"{each.size_bytes} bytes",
        "reason": each.reason,
        "hyperparameters": "" if joins else each.hyperparameters,
    }


def _known(figure: float) -> float | None:
    """Return a figure; None, which the page leaves empty, where nobody asked for it."""
    return None if math.isnan(figure) else figure
