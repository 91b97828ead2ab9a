"""The head that gives a point forecaster its second output `quantiles`, and the forecaster without it.

A quantile is the forecast plus an offset times the spread of the window and how much it grows up to that step; it is never negative, as
forecasts are not. The spread is the mean absolute deviation of the history plus that of its last 48 steps plus a floor. The head is plain
operators behind the graph, under names of its own: the forecast does not change, and taking it off gives the same bytes back.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx

from fleetml.learn.builder import Builder, Shape
from fleetml.learn.forecaster import smoke
from fleetml.learn.graph import check, describe
from fleetml.learn.quantiles import LEVELS
from fleetml.learn.windows import Floats

LEAST_OPSET = 13
"""Of the standard domain: since then ReduceSum and Unsqueeze take their axes as they do here."""
_KEY, _LEVELS = "fleetml.calibration", "fleetml.quantiles"
_PREFIX = "qh_"
_OUTER = ("history", "forecast", "quantiles")
_RECENT = 48
Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Offsets:
    """`values` [levels], which rise and are 0 at .5, in units of the spread; `floor` of it in the target's; `windows` they are from.

    Step h of the horizon, from 1, has h ** `growth` times the spread.
    """

    values: tuple[float, ...]
    growth: float
    floor: float
    windows: int


def spread(history: Floats) -> Values:
    """Return the spread [N] of histories [N, context] in the target's unit, without the floor."""
    parts = (history.astype(np.float64), history[:, -_RECENT:].astype(np.float64))
    whole, recent = (np.abs(part - part.mean(axis=1, keepdims=True)).mean(axis=1) for part in parts)
    return whole + recent


def grown(horizon: int, growth: float) -> Values:
    """Return how many times the spread each step has [horizon]."""
    return np.arange(1, horizon + 1, dtype=np.float64) ** growth


def put_on(model: onnx.ModelProto, offsets: Offsets) -> onnx.ModelProto:
    """Return a point forecaster with the head. Raises InvalidGraph where the result does not keep the contract."""
    meta = describe(model).meta
    head = _built(meta.context, meta.horizon, offsets).graph
    made = onnx.ModelProto()
    made.CopyFrom(model)
    made.graph.node.extend(head.node)
    made.graph.initializer.extend(head.initializer)
    made.graph.output.extend(head.output)
    about = {"windows": offsets.windows, "growth": offsets.growth}
    for key, value in ((_LEVELS, list(LEVELS)), (_KEY, about)):
        made.metadata_props.add(key=key, value=json.dumps(value))
    check(made)
    smoke(made.SerializeToString(), meta)
    return made


def taken_off(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the forecaster as it was before the head; one without, or with quantiles of its own, as it is."""
    if not any(entry.key == _KEY for entry in model.metadata_props):
        return model
    made = onnx.ModelProto()
    made.CopyFrom(model)
    graph = made.graph
    for node in [node for node in graph.node if _is_ours(node.output[0])]:
        graph.node.remove(node)
    for tensor in [tensor for tensor in graph.initializer if _is_ours(tensor.name)]:
        graph.initializer.remove(tensor)
    for output in [output for output in graph.output if _is_ours(output.name)]:
        graph.output.remove(output)
    for entry in [entry for entry in made.metadata_props if entry.key in (_KEY, _LEVELS)]:
        made.metadata_props.remove(entry)
    return made


def _is_ours(name: str) -> bool:
    return name == "quantiles" or name.startswith(_PREFIX)


def _built(context: int, horizon: int, offsets: Offsets) -> onnx.ModelProto:
    """Return the head alone: history and forecast in, quantiles out."""
    graph, recent = Builder(), min(_RECENT, context)
    whole, last = _deviation(graph, "history", context), _deviation(graph, graph.last("history", recent), recent)
    wide = graph.op("Add", graph.op("Add", whole, last), graph.constant(offsets.floor))
    if offsets.growth:
        wide = graph.op("Mul", wide, graph.constant(grown(horizon, offsets.growth)))
    moved = graph.op("Mul", graph.op("Unsqueeze", wide, graph.integers(2)), graph.constant(offsets.values))
    said = graph.op("Add", graph.op("Unsqueeze", "forecast", graph.integers(2)), moved)
    graph.op("Relu", said, name="quantiles")
    inputs: dict[str, Shape] = {"history": ["batch", context], "forecast": ["batch", horizon]}
    model = graph.model(inputs, {"quantiles": ["batch", horizon, len(LEVELS)]}, "quantiles")
    for node in model.graph.node:
        node.input[:] = [_named(name) for name in node.input]
        node.output[:] = [_named(name) for name in node.output]
    for tensor in model.graph.initializer:
        tensor.name = _named(tensor.name)
    return model


def _named(name: str) -> str:
    return name if name in _OUTER else _PREFIX + name


def _deviation(graph: Builder, values: str, count: int) -> str:
    """The mean absolute deviation of [batch, count]: [batch, 1]."""

    def mean(of: str) -> str:
        return graph.op("Mul", graph.op("ReduceSum", of, graph.integers(1), keepdims=1), graph.constant(1 / count))

    return mean(graph.op("Abs", graph.op("Sub", values, mean(values))))
