"""Quantiles of a point forecaster by split conformal prediction: how wrong it was on windows that it was not trained on.

A residual counts in units of its window's spread (`quantile_head`). Windows, not their steps, are what is exchangeable: an offset is the
quantile of the steps of all windows and of one more, which is infinitely wrong (hierarchical conformal prediction: Lee, Barber and Willett,
Distribution-free inference with hierarchical data, 2023); where that is the one more, it is the widest observed. All steps of the horizon
share one offset: of one each, or each few, an hour at which all VMs are busy in the few validation spans made a band of its own.
The windows that a search chose by flatter it a little: what is promised is judged on test windows, by `evaluate`.
"""

from __future__ import annotations

import logging

import numpy as np
import onnx

from fleetml.learn import quantile_head
from fleetml.learn.forecaster import Forecaster
from fleetml.learn.graph import describe
from fleetml.learn.metrics import pinball
from fleetml.learn.quantile_head import LEAST_OPSET, Offsets, Values
from fleetml.learn.quantiles import LEVELS
from fleetml.learn.windows import Floats, Windows

log = logging.getLogger(__name__)
# How the spread may grow over the horizon: not at all, up to a little more than a random walk's.
_GROWTHS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6)
_FLOOR = 0.2  # of the median window's spread


def calibrated(model: onnx.ModelProto, val: Windows) -> onnx.ModelProto:
    """Return a forecaster with quantiles at `LEVELS`, calibrated on `val` anew; one that says quantiles of its own as it is.

    So too, and the log says why, where no window has a measured target or the graph is of an opset before `LEAST_OPSET`. Raises
    InvalidGraph for windows that are not the graph's.
    """
    point = quantile_head.taken_off(model)
    if describe(point).quantiles:
        return point
    known = val[np.flatnonzero(~np.isnan(val.target).all(axis=1))]
    if why := _why_not(point, known):
        log.warning("the forecaster says no quantiles: %s", why)
        return point
    return quantile_head.put_on(point, offsets(known, Forecaster(point.SerializeToString()).forecast(known)))


def offsets(val: Windows, forecast: Floats) -> Offsets:
    """Return the offsets of windows, each with a measured step, that were forecast so [N, horizon].

    The growth of the spread is the one of the least quantile loss.
    """
    spread = quantile_head.spread(val.history)
    some = spread[spread > 0]
    floor = _FLOOR * float(np.median(some)) if len(some) else 1.0
    residuals = (val.target.astype(np.float64) - forecast) / (spread + floor)[:, None]
    tried = [(growth, residuals / quantile_head.grown(val.meta.horizon, growth)) for growth in _GROWTHS]
    found = [(growth, tuple(_offset(each, level) for level in LEVELS)) for growth, each in tried]
    growth, values = min(found, key=lambda each: _loss(residuals, *each))
    return Offsets(values, growth, floor, len(val))


def _offset(residuals: Values, level: float) -> float:
    """Return the offset of a level, of residuals [N, horizon], NaN: not measured; not below 0 above the middle, and 0 in it."""
    if level == 0.5:
        return 0.0
    if level < 0.5:
        return -_offset(-residuals, round(1 - level, 6))
    reached = min(1.0, level * (len(residuals) + 1) / len(residuals))
    known = residuals[~np.isnan(residuals)]
    return max(0.0, float(np.quantile(known, reached, method="inverted_cdf")))


def _loss(residuals: Values, growth: float, values: tuple[float, ...]) -> float:
    """Return the sum of the quantile losses of residuals [N, horizon] in units of the spread."""
    wide = np.broadcast_to(quantile_head.grown(residuals.shape[1], growth), residuals.shape)
    measured = ~np.isnan(residuals)
    known, wide = residuals[measured], wide[measured]
    return float(sum(pinball(known, wide * value, level).sum() for level, value in zip(LEVELS, values, strict=True)))


def _why_not(point: onnx.ModelProto, known: Windows) -> str:
    if not len(known):
        return "no validation window has a measured target"
    opset = next((opset.version for opset in point.opset_import if opset.domain in ("", "ai.onnx")), 0)
    return f"its opset is {opset}, they take {LEAST_OPSET}" if opset < LEAST_OPSET else ""
