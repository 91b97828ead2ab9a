"""How far the live features and forecasts are from those of training, and how good the forecasts were, as one report."""

import html
from typing import Any

import pandas as pd

from components.drift import report as page
from components.drift import statistics
from components.drift.quality import UNKNOWN
from fleetml.component import Artifact
from fleetml.errors import InvalidParameter

_KEY = ("vm_id", "origin")


def drift(
    current: Artifact,
    reference: Artifact,
    judged: Artifact,
    report: Artifact,
    metrics: Artifact,
    threshold: float,
    column_threshold: float,
    min_rows: int,
) -> dict[str, Any]:
    """Return drifted, score, features and missing, and write a self-contained HTML report.

    `features` are those whose divergence, in each VM's own terms, is more than `column_threshold` beyond the usual
    (`components.drift.statistics`), with that excess in nats; `missing` those that training had and live rows lack. `score` is
    that of the worst, from 0 to 1. The data drifted when it exceeds `threshold` and there is such a feature. Fewer
    than `min_rows` live rows are not judged: then nothing drifted, the score is `UNKNOWN`, and the report says so. `judged` are the errors by hour.
    """
    if not (0 < threshold < 1 and column_threshold > 0 and min_rows > 0):
        raise InvalidParameter(
            "threshold must lie in (0, 1), column_threshold and min_rows above 0, got "
            f"{threshold}, {column_threshold}, {min_rows}; mend them"
        )
    live, trained = (pd.read_parquet(table.path) for table in (current, reference))
    columns = [c for c in trained.columns if c not in _KEY and trained[c].count() > 0]
    if len(live) < min_rows or not columns:
        note = f"{len(live)} logged predictions; at least {min_rows} are needed to judge drift, so none is reported"
        quality = page.quality(judged.path)
        report.path.write_text(
            f"<!doctype html><meta charset=utf-8><title>Drift</title><p>{html.escape(note)}</p>{quality}"
        )
        metrics.log(drifted=False, requests=len(live), note=note)
        return {"drifted": False, "score": UNKNOWN, "features": {}, "missing": []}
    found = statistics.judge(live, trained, columns)
    score = statistics.score(list(found.values()))
    missing = [name for name, each in found.items() if each.missing]
    moved = {name: each.excess for name, each in found.items() if each.excess > column_threshold and not each.missing}
    drifted = score > threshold and bool(moved or missing)
    page.write(report.path, live, trained, found, column_threshold, judged.path)
    _log(metrics, found, drifted, score, missing)
    metrics.log(requests=len(live))
    return {"drifted": drifted, "score": score, "features": moved, "missing": missing}


def _log(
    metrics: Artifact, found: dict[str, statistics.Judged], drifted: bool, score: float, missing: list[str]
) -> None:
    worst = max(found, key=lambda name: found[name].excess)
    how = "missing" if found[worst].missing else f"{found[worst].excess:.2f}"
    metrics.log(drifted=drifted, score=round(score, 3), worst=f"{worst} {how}", missing=", ".join(missing))
    for name, each in found.items():
        if each.divergence == each.divergence:  # NaN where there is nothing to compare
            metrics.log(**{f"divergence.{name}": each.divergence, f"usual.{name}": each.usual})
