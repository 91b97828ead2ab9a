"""Small graphs of each kind, which say in advance what they answer."""

import numpy as np

from fleetml.learn.anomaly import graphs
from fleetml.learn.anomaly.graphs import Calibration, Scaling
from fleetml.learn.builder import Builder
from fleetml.learn.graph import finish
from fleetml.learn.windows import Meta

META = Meta(context=12, horizon=4, season=6, covariates=("vm_metrics:cpu_usage",))
"""Short windows with one covariate."""


def forecaster(meta: Meta = META, add: float = 0.0) -> bytes:
    """The last value, plus `add`, plus the covariates there are."""
    graph = Builder()
    known = graph.op("Where", graph.op("IsNaN", "covariates"), graph.constant([0.0]), "covariates")
    last = graph.op("Add", graph.last("history", 1), graph.op("ReduceSum", known, graph.integers(1)))
    moved = graph.op("Relu", graph.op("Add", last, graph.constant([add])))
    graph.op("Expand", moved, graph.integers(1, meta.horizon), name="forecast")
    inputs = {"history": ["batch", meta.context], "covariates": ["batch", len(meta.covariates)]}
    model = graph.model(inputs, {"forecast": ["batch", meta.horizon]}, "test")
    return bytes(finish(model, meta, "test", {"add": add}).SerializeToString())


def anomaly() -> bytes:
    """Far from 0 is an anomaly."""
    scaling = Scaling(np.zeros(6, np.float32), np.full(6, 0.5, np.float32))
    return bytes(graphs.distance(scaling, Calibration(3.0, -6.0, 0.9), "z_score").SerializeToString())
