"""Predictions of many rows at once, by numpy; the same as `PowerModel.predict` one by one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fleetml.cost.power.fit import Array, design
from fleetml.cost.power.model import PowerModel
from fleetml.cost.power.rows import Row


def predict(model: PowerModel, rows: Sequence[Row]) -> tuple[Array, Array, Array]:
    """Return the expected power [W] of rows whose features are known, and the ends of its interval; one number a row each."""
    values = np.column_stack([np.ones(len(rows)), design(model.terms, rows)])
    watts = values @ np.array(model.coefficients)
    tail = (1 - model.level) / 2
    low, high = np.quantile(np.array(model.draws) @ values.T, [tail, 1 - tail], axis=0)
    return np.maximum(watts, 0), np.maximum(np.minimum(low, watts), 0), np.maximum(np.maximum(high, watts), 0)
