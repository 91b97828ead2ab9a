"""Anomaly graphs: metrics [batch, 6], NaN absent → score [batch, 1] from 0 to 1, contribution [batch, 6], which adds up to 1.

Each metric is taken as log(1 + x), centred and scaled by the training rows. What scores it is a z-score, a distance from the
quartiles, or a small network; a metric that no training row had weighs nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx

from fleetml.learn import scorer
from fleetml.learn.anomaly.samples import METRICS, Numbers
from fleetml.learn.builder import Builder

KIND = "anomaly"
CLIP = 12.0
"""Scaled metrics are bounded: what is farther out is no more of an anomaly."""
_SMALL = 1e-6


@dataclass(frozen=True)
class Scaling:
    """Of log(1 + x): centre and width [6], width 0 where no row had the metric."""

    centre: Numbers
    width: Numbers

    @classmethod
    def robust(cls, values: Numbers) -> Scaling:
        """By median and quartiles; a metric that hardly varies has the width of 1 % of a unit at least."""
        low, centre, high = _quartiles(values)
        return cls(centre, np.where(np.isnan(high), 0, np.maximum((high - low) / 1.349, 0.05)).astype(np.float32))

    @classmethod
    def moments(cls, values: Numbers) -> Scaling:
        """By mean and standard deviation."""
        logs = np.log1p(values)
        centre, width = _known(np.nanmean, logs), _known(np.nanstd, logs)
        return cls(np.nan_to_num(centre), np.where(np.isnan(width), 0, np.maximum(width, 0.05)).astype(np.float32))


@dataclass(frozen=True)
class Layer:
    """weights [in, out] and bias [out]."""

    weights: Numbers
    bias: Numbers


@dataclass(frozen=True)
class Calibration:
    """score = sigmoid(slope * evidence + offset); at `threshold` and above it is an anomaly."""

    slope: float = 1.0
    offset: float = 0.0
    threshold: float = 0.5


def distance(scaling: Scaling, calibration: Calibration, family: str) -> onnx.ModelProto:
    """Return the graph whose evidence is the largest distance from the centre, in widths; contributions as its squares."""
    graph = Builder()
    scaled, present = _scaled(graph, scaling)
    away = graph.op("Abs", scaled)
    evidence = graph.op("ReduceMax", away, graph.integers(1), keepdims=1)
    square = graph.op("Add", graph.op("Mul", away, away), graph.op("Mul", present, graph.constant(_SMALL)))
    return _finish(graph, evidence, square, calibration, family, {})


def network(
    scaling: Scaling, layers: Sequence[Layer], calibration: Calibration, hyperparameters: Mapping[str, Any]
) -> onnx.ModelProto:
    """Return the graph of a network that gives each metric evidence (a logit); the row's is log of the sum of their exp."""
    graph = Builder()
    scaled, present = _scaled(graph, scaling)
    values = graph.op("Concat", scaled, present, axis=1)
    for number, layer in enumerate(layers):
        product = graph.op("MatMul", values, graph.constant(layer.weights))
        values = graph.op("Add", product, graph.constant(layer.bias))
        values = graph.op("Relu", values) if number < len(layers) - 1 else values
    bounded = graph.op("Clip", values, graph.constant(-30.0), graph.constant(30.0))
    each = graph.op("Mul", graph.op("Exp", bounded), present)
    total = graph.op("Add", _sum(graph, each), graph.constant(1e-13))
    return _finish(graph, graph.op("Log", total), each, calibration, "network", hyperparameters)


def _finish(
    graph: Builder,
    evidence: str,
    weight: str,
    calibration: Calibration,
    family: str,
    hyperparameters: Mapping[str, Any],
) -> onnx.ModelProto:
    slope, offset = graph.constant(calibration.slope), graph.constant(calibration.offset)
    graph.op("Sigmoid", graph.op("Add", graph.op("Mul", evidence, slope), offset), name="score")
    total = graph.op("Max", _sum(graph, weight), graph.constant(1e-30))
    graph.op("Div", weight, total, name="contribution")
    width = len(METRICS)
    model = graph.model(
        {"metrics": ["batch", width]}, {"score": ["batch", 1], "contribution": ["batch", width]}, family
    )
    about = {"columns": METRICS, "threshold": calibration.threshold}
    return scorer.finish(model, KIND, family, about, hyperparameters)


def _scaled(graph: Builder, scaling: Scaling) -> tuple[str, str]:
    """Return scaled metrics, 0 where absent, and 1 for those that are present and known; both [batch, 6]."""
    known = graph.constant((scaling.width > 0)[None, :])
    absent = graph.op("IsNaN", "metrics")
    present = graph.op("Mul", graph.op("Cast", graph.op("Not", absent), to=onnx.TensorProto.FLOAT), known)
    values = graph.op("Relu", graph.op("Where", absent, graph.constant(0.0), "metrics"))
    logs = graph.op("Log", graph.op("Add", values, graph.constant(1.0)))
    width = np.where(scaling.width > 0, scaling.width, 1)[None, :]
    moved = graph.op("Div", graph.op("Sub", logs, graph.constant(scaling.centre[None, :])), graph.constant(width))
    return graph.op("Mul", graph.op("Clip", moved, graph.constant(-CLIP), graph.constant(CLIP)), present), present


def _quartiles(values: Numbers) -> tuple[Numbers, Numbers, Numbers]:
    low, centre, high = (
        _known(lambda x, axis, q=q: np.nanpercentile(x, q, axis=axis), np.log1p(values)) for q in (25, 50, 75)
    )
    return low, np.nan_to_num(centre), high


def _known(figure: Any, values: Numbers) -> Numbers:
    """Return a figure of each column, NaN where nothing is known."""
    present = np.isfinite(values).any(axis=0)
    found = np.full(values.shape[1], np.nan, np.float32)
    found[present] = figure(values[:, present], axis=0)
    return found


def _sum(graph: Builder, values: str) -> str:
    return graph.op("ReduceSum", values, graph.integers(1), keepdims=1)
