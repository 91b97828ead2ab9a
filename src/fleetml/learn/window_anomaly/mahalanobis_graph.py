"""The detector of `mahalanobis` as a graph."""

from __future__ import annotations

import numpy as np
import onnx

from fleetml.learn.builder import Builder
from fleetml.learn.window_anomaly.mahalanobis import FAMILY, FARTHEST, NEAREST, Detector, Look, Numbers, Settings


def build(detector: Detector) -> onnx.ModelProto:
    """Return the graph of `Detector.graph`, which has yet to say what it is."""
    graph, settings = Builder(), detector.settings
    count = len(detector.looks[0].centre)
    powers, shares = [], []
    for look, rows in zip(detector.looks, _seen(graph, detector), strict=True):
        white = _white(graph, look, rows, settings)
        mean = graph.mean(graph.op("ReduceSum", graph.op("Mul", white, white), graph.integers(2), keepdims=0))
        powers.append(graph.op("Pow", graph.op("Max", mean, graph.constant(NEAREST)), graph.constant(look.weight)))
        shares.append(graph.op("Mul", _share(graph, look, white, settings), graph.constant(look.weight)))
    product = powers[0] if len(powers) == 1 else graph.op("Mul", *powers)
    graph.op("Div", product, graph.constant(detector.threshold), name="score")
    total = graph.constant(sum(look.weight for look in detector.looks))
    graph.op("Div", graph.op("Sum", *shares), total, name="contribution")
    return graph.model(
        {"metrics": ["batch", settings.rows, count]}, {"score": ["batch", 1], "contribution": ["batch", count]}, FAMILY
    )


def _seen(graph: Builder, detector: Detector) -> list[str]:
    """Return what each look sees, less its centre, [batch, rows - before, C]."""
    settings, first = detector.settings, detector.looks[0]
    # The centre goes first: float32 would lose what rows far from 0 differ by
    moved = graph.op("Sub", "metrics", graph.constant(first.centre))
    own = _slice(graph, moved, settings.before, settings.rows)
    if not settings.recent:
        return [own]
    above = graph.op("Sub", own, _recent_mean(graph, moved, settings))
    return [own, graph.op("Sub", above, graph.constant(detector.looks[1].centre))]


def _recent_mean(graph: Builder, rows: str, settings: Settings) -> str:
    """Return the mean of what is known of the last `recent` of rows [batch, rows, C]; NaN: nothing."""
    taken = settings.rows - settings.before
    band = graph.constant(sum(np.eye(taken, settings.rows, k=lag) for lag in range(settings.recent)))
    absent, none = graph.op("IsNaN", rows), graph.constant(0.0)
    known = graph.op("Where", absent, none, graph.constant(1.0))
    total = graph.op("MatMul", band, graph.op("Where", absent, none, rows))
    return graph.op("Div", total, graph.op("MatMul", band, known))


def _white(graph: Builder, look: Look, rows: str, settings: Settings) -> str:
    """Return each window of rows less the centre, away from its middle, in widths of the covariance: [batch, smooth, steps * C]."""
    scaled = graph.op("Div", rows, graph.constant(look.width))
    # The absent counts as usual
    known = graph.op("Where", graph.op("IsNaN", scaled), graph.constant(0.0), scaled)
    bound = look.clip or FARTHEST
    bounded = graph.op("Clip", known, graph.constant(-bound), graph.constant(bound))
    bent = bounded if look.clip else graph.op("Asinh", bounded)
    windows = [_slice(graph, bent, at, at + settings.steps) for at in range(settings.smooth)]
    flat = [graph.op("Reshape", one, graph.integers(-1, 1, len(look.middle))) for one in windows]
    away = graph.op("Sub", graph.op("Concat", *flat, axis=1), graph.constant(look.middle))
    return graph.op("MatMul", away, graph.constant(look.whitener))


def _share(graph: Builder, look: Look, white: str, settings: Settings) -> str:
    """Return by how much the distance would fall if a metric were, in all steps of a window, what the others let expect; as a share."""
    steps, smooth, count = settings.steps, settings.smooth, len(look.centre)
    slope = graph.op("MatMul", white, graph.op("Transpose", graph.constant(look.whitener), perm=[1, 0]))
    each = graph.op("Reshape", slope, graph.integers(-1, steps, count))
    by_metric = graph.op("Transpose", each, perm=[2, 0, 1])
    residual = graph.op("MatMul", by_metric, graph.constant(_root(look.whitener, steps, count)))
    falls = graph.op("ReduceSum", graph.op("Mul", residual, residual), graph.integers(2), keepdims=0)
    rows = graph.op("Reshape", graph.op("Transpose", falls, perm=[1, 0]), graph.integers(-1, smooth, count))
    total = graph.op("Add", graph.op("ReduceSum", rows, graph.integers(1), keepdims=0), graph.constant(1e-12))
    return graph.op("Div", total, graph.op("ReduceSum", total, graph.integers(1), keepdims=1))


def _root(whitener: Numbers, steps: int, count: int) -> Numbers:
    """Return for each metric a square root of the inverse of its own part of the inverse covariance, [C, steps, steps]."""
    inverse = (whitener @ whitener.T).reshape(steps, count, steps, count)
    return np.stack([np.linalg.cholesky(np.linalg.inv(inverse[:, metric, :, metric])) for metric in range(count)])


def _slice(graph: Builder, rows: str, start: int, end: int) -> str:
    return graph.op("Slice", rows, graph.integers(start), graph.integers(end), graph.integers(1))
