"""What is known of a rollout, read from the prediction log and the truth."""

import math
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import polars as pl

from fleetml.serving import truth
from fleetml.serving.deployment import Deployed, Rollout
from fleetml.serving.rollout.decision import Evidence, Side
from fleetml.serving.rollout.progress import began
from fleetml.serving.routing import CHALLENGER, CHAMPION, SHADOW

_HORIZON = timedelta(days=7)
"""Longest a forecast looks ahead: truth beyond that is not read."""
_TAIL, _UNSURE = 0.01, 0.001


def gather(root: Path, name: str, served: Deployed, rollout: Rollout, step_began: datetime, now: datetime) -> Evidence:
    """Return what the serving folder holds of `rollout` of the model `name`; its share began at `step_began`. Raises InvalidData, OSError."""
    log = truth.logged(root, name, began(rollout), None).filter(pl.col("rollout") == rollout.id)
    judged = _judged(root, name, log)
    pairs = _pairs(judged, served.version, rollout.version)
    answered = judged.filter(pl.col("role") != SHADOW, pl.col("time") >= step_began)
    span = answered.select(pl.col("origin").max() - pl.col("origin").min()).item() or timedelta()
    return Evidence(
        mode=rollout.mode,
        share=rollout.share,
        served=_served(log, served.version),
        second=_side(_asked_of_second(log, rollout)),
        served_error=pairs["served"].to_numpy(),
        second_error=pairs["second"].to_numpy(),
        rows=int(pairs["rows"].sum()),
        step_rows=answered.height,
        step_minutes=span.total_seconds() / 60,
        age_hours=(now - began(rollout)).total_seconds() / 3600,
    )


def _judged(root: Path, name: str, log: pl.DataFrame) -> pl.DataFrame:
    if log.is_empty():
        return truth.errors(log, pl.DataFrame(schema=truth.SCHEMA))
    first, last = log.select(pl.col("origin").min().alias("a"), pl.col("origin").max().alias("b")).row(0)
    return truth.errors(log, truth.read(root, name, first, last + _HORIZON))


def _asked_of_second(log: pl.DataFrame, rollout: Rollout) -> pl.DataFrame:
    role = SHADOW if rollout.mode == "shadow" else CHALLENGER
    return log.filter(pl.col("role") == role, pl.col("model_version") == rollout.version)


def _served(log: pl.DataFrame, version: str) -> Side:
    """Its p99 is the longer one of all questions and of those that the second version answered: a busy moment is no fault of either."""
    own = _side(log.filter(pl.col("role") == CHAMPION))
    beside = _side(log.filter(pl.col("role") == SHADOW, pl.col("model_version") == version))
    known = [p99 for p99 in (own.p99_ms, beside.p99_ms) if math.isfinite(p99)]
    return replace(own, p99_ms=max(known, default=math.nan))


def _side(log: pl.DataFrame) -> Side:
    failed = log.select((pl.col("failure") != "").sum()).item()
    taken = log.filter(pl.col("failure") == "")["latency_ms"].drop_nulls().sort(descending=True)
    if taken.is_empty():
        return Side(log.height, int(failed or 0))
    beyond = beyond_p99(len(taken))
    surely = float(taken[beyond]) if beyond < len(taken) else float("nan")
    return Side(log.height, int(failed or 0), float(taken.quantile(0.99)), surely)  # type: ignore[arg-type]


def beyond_p99(count: int) -> int:
    """Return k such that the (k + 1)th longest of `count` times is no longer than their true p99, but for one chance in a thousand.

    Times beyond the p99 are binomial with 1 % (order statistics: David and Nagaraja, 2003, 7.1): P(more than k) <= 0.001.
    """
    if count > 5_000:  # normal: 3.09 deviations
        return math.ceil(count * _TAIL + 3.09 * math.sqrt(count * _TAIL * (1 - _TAIL)))
    chance = beyond = (1 - _TAIL) ** count
    k = 0
    while 1 - beyond > _UNSURE:
        k += 1
        chance *= (count - k + 1) / k * _TAIL / (1 - _TAIL)
        beyond += chance
    return k


def _pairs(judged: pl.DataFrame, served: str, second: str) -> pl.DataFrame:
    """Return per VM the summed errors of both versions over the questions that both answered, and how many those are.

    A question is a VM and an origin, judged by the same values of truth; asked twice, it counts twice on both sides.
    """
    by_question = judged.group_by("vm_id", "origin", "model_version").agg(
        pl.col("error").sum(), pl.col("steps").sum(), pl.len().alias("rows")
    )
    sides = [by_question.filter(pl.col("model_version") == version) for version in (served, second)]
    both = sides[0].join(sides[1], on=["vm_id", "origin", "steps", "rows"], suffix="_second")
    return both.group_by("vm_id", maintain_order=True).agg(
        pl.col("error").sum().alias("served"), pl.col("error_second").sum().alias("second"), pl.col("rows").sum()
    )
