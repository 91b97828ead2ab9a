"""What the monitor compares: the same figures of a request, computed for training windows and for live traffic."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

HISTORY = ("history_mean", "history_last", "history_std")
"""Mean, last value and standard deviation (population) of the history, in the target's unit."""

FORECAST = "forecast"
"""The column of the first value of a forecast, in the target's unit, beside the features in ``reference.parquet``."""


def columns(covariates: Sequence[str]) -> list[str]:
    """Return the feature columns of a model: `HISTORY`, then its covariates without their view's name.

    A covariate keeps its view's name where two views have a feature of that name.
    """
    short = [reference.rpartition(":")[2] for reference in covariates]
    return [*HISTORY, *(s if short.count(s) == 1 else ref for s, ref in zip(short, covariates, strict=True))]


def values(history: npt.NDArray[np.float32], covariates: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Return the features [N, 3 + C] of histories [N, context] and covariates [N, C], in the order of `columns`."""
    wide = history.astype(np.float64)
    figures = np.column_stack([wide.mean(axis=1), wide[:, -1], wide.std(axis=1)])
    return np.hstack([figures, covariates.astype(np.float64)])
