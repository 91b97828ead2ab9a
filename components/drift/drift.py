"""How far the live features are from those of training: Evidently's data drift preset on distances."""

import html
from typing import Any

import numpy as np
import pandas as pd

from fleetml.component import Artifact
from fleetml.errors import InvalidParameter

LEAST_SPREAD = 0.1
"""Least deviation a VM is credited with, in logarithms: about 10 %; else a constant feature drifts by a hair."""


def drift(
    current: Artifact,
    reference: Artifact,
    report: Artifact,
    metrics: Artifact,
    threshold: float,
    column_threshold: float,
    min_rows: int,
) -> dict[str, Any]:
    """Return drifted, score and features, and write a self-contained HTML report.

    Features are compared in each VM's own terms (`own_terms`). One drifted when the Wasserstein distance of its values,
    in standard deviations of the reference, reaches its limit (`limits`); `features` are the distances of those.
    `score` is the share of features that drifted, from 0 to 1; the data drifted when it reaches `threshold`. A
    feature with fewer than `min_rows` live values is not judged; when that leaves none, nothing drifted, and the report
    says so.
    """
    if not (0 < threshold <= 1 and column_threshold > 0 and min_rows > 0):
        raise InvalidParameter(
            "threshold must lie in (0, 1], column_threshold and min_rows above 0, got "
            f"{threshold}, {column_threshold}, {min_rows}; mend them"
        )
    live, trained = (pd.read_parquet(table.path) for table in (current, reference))
    features = [c for c in trained.columns if c != "vm_id"]
    columns = [c for c in features if live[c].count() >= min_rows and trained[c].count() > 0]
    if not columns:
        note = f"{len(live)} logged predictions; at least {min_rows} are needed to judge drift, so none is reported"
        report.path.write_text(f"<!doctype html><meta charset=utf-8><title>Drift</title><p>{html.escape(note)}</p>")
        metrics.log(drifted=False, requests=len(live), note=note)
        return {"drifted": False, "score": 0.0, "features": {}}
    allowed = limits(live, columns, column_threshold)
    distances = _compare(*own_terms(live, trained, columns), report, threshold, allowed)
    moved = {column: distance for column, distance in distances.items() if distance >= allowed[column]}
    score = len(moved) / len(columns)
    worst = max(distances, key=lambda column: distances[column])
    metrics.log(drifted=score >= threshold, score=round(score, 3), worst=f"{worst} {distances[worst]:.2f}")
    metrics.log(requests=len(live), not_judged=", ".join(c for c in features if c not in columns))
    metrics.log(**{f"distance.{column}": distance for column, distance in distances.items()})
    return {"drifted": score >= threshold, "score": score, "features": moved}


def limits(live: pd.DataFrame, columns: list[str], column_threshold: float) -> dict[str, float]:
    """Return the distance that each feature may have: `column_threshold` and three standard errors.

    A mean of n standard scores has the standard error 1 / sqrt(n). A value asked about again is no new one: n counts
    different pairs of VM and value, so that a few VMs whose covariates stand still do not pass for a fleet that drifted.
    """
    counts = {column: len(live[["vm_id", column]].dropna().drop_duplicates()) for column in columns}
    return {column: column_threshold + 3 / float(np.sqrt(count)) for column, count in counts.items()}


def own_terms(live: pd.DataFrame, trained: pd.DataFrame, columns: list[str]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return both tables as standard scores of logarithms, by what each VM did in training.

    VMs differ by orders of magnitude, so in plain units the largest decide and a small one may double unseen. With
    s a tenth of the feature's median where it is positive, a value x of VM v becomes (log(1 + x / s) - mean_v) / std_v;
    a VM unknown to training is measured by the mean and deviation of all.
    """
    unit = trained[columns].where(trained[columns] > 0).median().fillna(10.0) / 10
    logs = [(table[columns].clip(lower=0) / unit).transform(np.log1p) for table in (live, trained)]
    by_vm = logs[1].groupby(trained["vm_id"])
    mean, spread = by_vm.mean(), by_vm.std(ddof=0)
    scores = []
    for table, log in zip((live, trained), logs, strict=True):
        centre = mean.reindex(table["vm_id"]).set_axis(log.index).fillna(logs[1].mean())
        width = spread.reindex(table["vm_id"]).set_axis(log.index).fillna(logs[1].std(ddof=0))
        scores.append((log - centre) / width.clip(lower=LEAST_SPREAD))
    return scores[0], scores[1]


def _compare(
    live: pd.DataFrame, trained: pd.DataFrame, report: Artifact, threshold: float, allowed: dict[str, float]
) -> dict[str, float]:
    """Run Evidently; return the distance of each column."""
    from evidently import DataDefinition, Dataset, Report
    from evidently.presets import DataDriftPreset

    definition = DataDefinition(numerical_columns=list(live.columns))  # else few distinct numbers pass for categories
    preset = DataDriftPreset(
        columns=list(live.columns), drift_share=threshold, num_method="wasserstein", per_column_threshold=allowed
    )
    result = Report([preset], include_tests=True).run(
        Dataset.from_pandas(live, definition), Dataset.from_pandas(trained, definition)
    )
    result.save_html(str(report.path))
    return {
        metric["config"]["column"]: float(metric["value"])
        for metric in result.dict()["metrics"]
        if "column" in metric["config"]
    }
