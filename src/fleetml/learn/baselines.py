"""The naive forecasters as graphs: what every learnt model has to beat."""

import numpy as np
import onnx

from fleetml.learn.builder import Builder
from fleetml.learn.graph import finish
from fleetml.learn.windows import Meta


def last_value(meta: Meta) -> onnx.ModelProto:
    """The last value of the history, for every step of the horizon."""
    return _repeat(meta, np.full(meta.horizon, meta.context - 1), "last_value")


def seasonal_naive(meta: Meta) -> onnx.ModelProto:
    """The value one season before; a history shorter than a season is repeated as it is."""
    return _repeat(meta, seasonal_steps(meta), "seasonal_naive")


BASELINES = {"last_value": last_value, "seasonal_naive": seasonal_naive}


def seasonal_steps(meta: Meta) -> np.ndarray:
    """Return for each step of the horizon the place in history one season (or more, whole ones) before, [horizon]."""
    period = min(meta.season, meta.context)
    return meta.context - period + np.arange(meta.horizon) % period


def _repeat(meta: Meta, places: np.ndarray, family: str) -> onnx.ModelProto:
    graph = Builder()
    graph.op("Relu", graph.columns("history", places), name="forecast")
    inputs: dict[str, list[int | str]] = {
        "history": ["batch", meta.context],
        "covariates": ["batch", len(meta.covariates)],
    }
    return finish(graph.model(inputs, {"forecast": ["batch", meta.horizon]}, family), meta, family)
