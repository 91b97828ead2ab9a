"""How bad predictions are, as arrays: what a search makes small. Of metrics where more is better, 1 minus or minus."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

Said = npt.NDArray[np.float64]  # [N, C] probabilities, or [N, 1] values
Truth = npt.NDArray[Any]  # [N] class numbers, or values
Loss = Callable[[Truth, Said], float]
LEAST = 1e-7


def log_loss(truth: Truth, said: Said) -> float:
    """Return the mean of -log of the true class's probability, at least 1e-7."""
    return float(-np.log(np.clip(said[np.arange(len(truth)), truth], LEAST, 1)).mean())


def auc_error(truth: Truth, said: Said) -> float:
    """Return 1 - AUC: the share of pairs in the wrong order (Mann and Whitney); several classes: the mean of one against the rest.

    Classes that do not occur, or alone, are left out; without any it is the log loss.
    """
    classes = [1] if said.shape[1] == 2 else range(said.shape[1])
    found = [_pairs(truth == each, said[:, each]) for each in classes]
    known = [value for value in found if value is not None]
    return float(np.mean(known)) if known else log_loss(truth, said)


def _pairs(positive: npt.NDArray[np.bool_], score: npt.NDArray[np.float64]) -> float | None:
    from scipy.stats import rankdata

    ones = int(positive.sum())
    if ones in (0, len(positive)):
        return None
    above = rankdata(score)[positive].sum() - ones * (ones + 1) / 2
    return 1 - float(above) / (ones * (len(positive) - ones))


def accuracy_error(truth: Truth, said: Said) -> float:
    """Return the share of wrong classes."""
    return float((said.argmax(axis=1) != truth).mean())


def f1_error(truth: Truth, said: Said) -> float:
    """Return 1 - the mean of the classes' F1."""
    from sklearn.metrics import f1_score

    return 1 - float(f1_score(truth, said.argmax(axis=1), average="macro", zero_division=0))


def rmse(truth: Truth, said: Said) -> float:
    """Return the root of the mean squared error."""
    return float(np.sqrt(((truth - said[:, 0]) ** 2).mean()))


def mae(truth: Truth, said: Said) -> float:
    """Return the mean absolute error."""
    return float(np.abs(truth - said[:, 0]).mean())


LOSSES: dict[str, Loss] = {
    "log_loss": log_loss,
    "roc_auc": auc_error,
    "accuracy": accuracy_error,
    "f1": f1_error,
    "rmse": rmse,
    "mae": mae,
    "r2": rmse,  # the same order
}
