"""MODEL_EVALUATION and MODEL_VALIDATION: a model beside the best constant on rows nothing was chosen by."""

import json
from collections.abc import Mapping
from typing import Any

from fleetml.component import Artifact
from fleetml.data.schema import aside
from fleetml.errors import InvalidData, InvalidParameter
from fleetml.learn.algorithms import METRICS
from fleetml.learn.tables import scores, table
from fleetml.learn.tables.model import TabularModel
from fleetml.learn.tables.table import TRAIN, Table


def evaluate(dataset: Artifact, model: Artifact, result: Artifact, metrics: Artifact) -> None:
    """Write the scores as JSON: {target, objective, split, rows, model: {metric: figure}, constant: {metric: figure}}.

    Raises InvalidData where dataset and model do not belong together.
    """
    found = judge(table.read(dataset.path), TabularModel(model.path), model.metadata)
    with aside(result.path) as temporary:
        temporary.write_text(json.dumps(found, indent=1, sort_keys=True))
    result.metadata.update(found["model"])
    first, *_ = found["model"]
    metrics.log(**found["model"], **{f"constant_{first}": found["constant"][first]}, rows=found["rows"])


def validate(
    dataset: Artifact,
    model: Artifact,
    metrics: Artifact,
    thresholds: dict[str, float] | None = None,
    beats_constant: bool = True,
) -> None:
    """Refuse a model that misses a threshold, or is no better than a constant; what comes after then does not run.

    A threshold is the least of a metric of which more is better (accuracy, f1, roc_auc, r2), else the most.
    Raises InvalidData for such a model, InvalidParameter for an unknown metric.
    """
    found = judge(table.read(dataset.path), TabularModel(model.path), model.metadata)
    figures = found["model"]
    for name, bound in (thresholds or {}).items():
        if name not in METRICS or name not in figures:
            raise InvalidParameter(
                f"thresholds.{name}: a {found['objective']} has the metrics {', '.join(figures)}; use one of them"
            )
        if not isinstance(bound, int | float) or isinstance(bound, bool):
            raise InvalidParameter(f"thresholds.{name} must be a number, got {bound!r}; correct it")
        if figures[name] != bound and not scores.better(name, figures[name], bound):
            raise InvalidData(
                f"a model must reach {name} {'>=' if METRICS[name] else '<='} {bound}, got {figures[name]} on "
                f"{found['rows']} rows ({found['split']}); train longer, on more data, or change the threshold"
            )
    first, *_ = figures
    if beats_constant and not scores.better(first, figures[first], found["constant"][first]):
        raise InvalidData(
            f"a model must beat a constant, {first} is {figures[first]} and a constant's {found['constant'][first]} on "
            f"{found['rows']} rows ({found['split']}); {_remedy(model)}, or, where that will do, call validate with beats_constant=false"
        )
    metrics.log(**figures, checked=len(thresholds or {}), rows=found["rows"])


def _remedy(model: Artifact) -> str:
    """Return what to do about a model no better than a constant: its search may say that it had no time for another."""
    if why := model.metadata.get("card", {}).get("reason"):
        return f"its search says: {why}; give that more seconds, or wider limits"
    return "give features that tell something (the step that trained tells what it left out)"


def judge(given: Table, model: TabularModel, known: Mapping[str, Any]) -> dict[str, Any]:
    """Return the figures of a model and of the best constant on the held-out rows; the metric it was searched by is the first.

    `known` is the metadata of the model. Raises InvalidData, also for rows that the model has learnt from.
    """
    target = model.about.target
    if target not in given.frame.columns:
        raise InvalidData(
            f"a model of {target!r} is judged on rows that hold it; the dataset is about {given.recipe.target!r}"
        )
    split, held = given.held_out()
    if split in (learnt := known.get("learnt_from", [TRAIN])):
        raise InvalidData(
            f"a model is judged on rows it has not learnt from, this one learnt from {' and '.join(learnt)}, and the dataset "
            "has no test rows; prepare it with a test_split above 0"
        )
    said = model.predict(held)
    constant = scores.baseline(model.about, given.part(TRAIN)[target], held[target])
    return {
        "target": target,
        "objective": model.about.objective,
        "algorithm": model.about.algorithm,
        "split": split,
        "rows": len(held),
        "model": _first(known.get("metric", ""), scores.rounded(scores.scores(model.about, held[target], said))),
        "constant": scores.rounded(constant),
    }


def _first(metric: str, figures: dict[str, Any]) -> dict[str, Any]:
    return {metric: figures[metric], **figures} if metric in figures else figures
