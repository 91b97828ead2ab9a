"""How good predictions are, beside those of a model that looks at no feature."""

from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from fleetml.errors import InvalidParameter
from fleetml.learn.algorithms import METRICS, OF_OBJECTIVE
from fleetml.learn.tables.model import Description, Predicted


def scores(about: Description, target: pl.Series, said: Predicted) -> dict[str, float]:
    """Return the metrics of the objective; one that is not defined on these rows (one class alone) is left out."""
    if about.classifies:
        return _classification(about, codes(about, target), said)
    return _regression(target.cast(pl.Float64).to_numpy(), said.prediction.astype(np.float64))


def baseline(about: Description, train: pl.Series, target: pl.Series) -> dict[str, float]:
    """Return the metrics of the best constant: the most frequent class, or the mean, of the training rows."""
    if about.classifies:
        counts = np.bincount(codes(about, train), minlength=len(about.classes))
        shares = np.tile((counts / counts.sum()).astype(np.float32), (len(target), 1))
        return scores(about, target, Predicted(np.repeat(int(counts.argmax()), len(target)), shares))
    mean = float(train.cast(pl.Float64).mean())  # type: ignore[arg-type]
    return scores(about, target, Predicted(np.full(len(target), mean), None))


def codes(about: Description, target: pl.Series) -> npt.NDArray[np.int64]:
    """Return class numbers; -1 for a class that the model does not know."""
    places = {value: place for place, value in enumerate(about.classes)}
    return np.array([places.get(value, -1) for value in target.to_list()], dtype=np.int64)


def _classification(about: Description, truth: npt.NDArray[np.int64], said: Predicted) -> dict[str, float]:
    from sklearn import metrics

    probabilities = said.probabilities
    assert probabilities is not None  # noqa: S101 - a classifier's graph has them
    guess = probabilities.argmax(axis=1)
    found = {
        "accuracy": float((guess == truth).mean()),
        "f1": float(metrics.f1_score(truth, guess, average="macro", zero_division=0)),
    }
    known = truth >= 0
    sure = np.clip(probabilities[known].astype(np.float64), 1e-7, 1)
    sure /= sure.sum(axis=1, keepdims=True)
    labels = np.arange(len(about.classes))
    if known.any():
        found["log_loss"] = float(metrics.log_loss(truth[known], sure, labels=labels))
    if set(truth[known]) == set(labels):
        one = sure[:, 1] if len(labels) == 2 else sure
        found["roc_auc"] = float(metrics.roc_auc_score(truth[known], one, multi_class="ovr", labels=labels))
    return found


def _regression(truth: npt.NDArray[np.float64], guess: npt.NDArray[np.float64]) -> dict[str, float]:
    error = truth - guess
    found = {"rmse": float(np.sqrt((error**2).mean())), "mae": float(np.abs(error).mean())}
    spread = float(((truth - truth.mean()) ** 2).sum())
    if spread > 0:
        found["r2"] = 1 - float((error**2).sum()) / spread
    return found


def metric_of(objective: str, name: str) -> str:
    """Return a metric's name, the objective's first one for "". Raises InvalidParameter for one of another objective."""
    known = OF_OBJECTIVE[objective]
    if name and name not in known:
        raise InvalidParameter(
            f"objective_metric of a {objective} must be one of {', '.join(known)}, got {name!r}; correct it"
        )
    return name or known[0]


def better(metric: str, one: float, other: float) -> bool:
    """Say whether the first figure is the better one."""
    return one > other if METRICS[metric] else one < other


def rounded(found: dict[str, float]) -> dict[str, Any]:
    """Return figures for people."""
    return {name: round(value, 4) for name, value in found.items()}
