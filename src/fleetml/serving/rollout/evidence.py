"""What is known of a rollout, read from the prediction log and the truth."""

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
        served=_side(log.filter(pl.col("role") == CHAMPION)),
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


def _side(log: pl.DataFrame) -> Side:
    failed = log.select((pl.col("failure") != "").sum()).item()
    p99 = log.filter(pl.col("failure") == "").select(pl.col("latency_ms").quantile(0.99)).item()
    return Side(log.height, int(failed or 0), float("nan") if p99 is None else float(p99))


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
