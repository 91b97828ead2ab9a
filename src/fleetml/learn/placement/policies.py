"""A policy is a placement graph: the rows it takes, how it is built, how the simulator asks it.

The graph places the pod on the node, weighs what
that changes (`TERMS`) and adds up. The fragmentation is that of Weng et al., USENIX ATC 2023: GPU milli of a node that a
pod drawn from the typical ones could not use, in the mean.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx

from fleetml.data import MOST_GPUS, WHOLE
from fleetml.learn import scorer
from fleetml.learn.builder import Builder
from fleetml.learn.forecaster import session
from fleetml.learn.placement import rows
from fleetml.learn.placement.cluster import Cluster, Numbers, Places, Spec
from fleetml.learn.placement.rows import NODE, POD
from fleetml.learn.placement.simulator import Room

KIND = "placement"
TERMS = ("fragmentation", "cpu_left", "gpu_left", "memory_left", "opened_gpu", "cpu_shortage", "idle_gpu")
"""What placing the pod changes: GPUs lost to fragmentation; cores (of 128), GPUs (of 8), TiB left on the node; GPUs that
were whole and are shared now; GPUs that the cores left do not suffice for, by the workload's mean cores per GPU; GPUs
(of 8) idle on a node whose cores go to a pod without GPU."""
Weights = Mapping[str, float]
BEST_FIT: Weights = {"cpu_left": 0.5, "gpu_left": 0.5}
FGD: Weights = {"fragmentation": 1.0}


def build(cluster: Cluster, weights: Weights, family: str, steps: str = "") -> onnx.ModelProto:
    """Return the graph that subtracts the weighted `TERMS`; `steps`: rounded down as the published policy rounds.

    "percent": to whole hundredths of the score's range, "sigmoid": to those of its logistic function.
    """
    names = rows.of_cluster(cluster)
    graph, width = Builder(), len(rows.columns(names))
    cpu, memory, gpus, milli = (graph.columns("candidates", at) for at in range(4))
    free_cpu, free_memory = (graph.columns("candidates", len(POD) + at) for at in range(2))
    before = graph.columns("candidates", np.arange(len(POD) + 2, len(POD) + len(NODE)))
    taken = _taken(graph, before, gpus, milli)
    after = graph.op("Sub", before, graph.op("Mul", taken, milli))
    cpu_left, memory_left = graph.op("Sub", free_cpu, cpu), graph.op("Sub", free_memory, memory)
    lost = _Fragmentation(graph, cluster, names)
    opened = _sum(graph, graph.op("Mul", taken, _at_least(graph, before, graph.constant(WHOLE))))
    shared = graph.op("Cast", graph.op("Less", milli, graph.constant(WHOLE)), to=onnx.TensorProto.FLOAT)
    none = graph.op("Cast", graph.op("Less", gpus, graph.constant(1)), to=onnx.TensorProto.FLOAT)
    gpu_left = _scaled(graph, _sum(graph, after), WHOLE * MOST_GPUS)
    parts = {
        "fragmentation": _scaled(graph, graph.op("Sub", lost.of(cpu_left, after), lost.of(free_cpu, before)), WHOLE),
        "cpu_left": _scaled(graph, cpu_left, 128_000),
        "gpu_left": gpu_left,
        "memory_left": _scaled(graph, memory_left, 1_048_576),
        "opened_gpu": graph.op("Mul", opened, shared),
        "cpu_shortage": _scaled(
            graph, graph.op("Sub", lost.short(cpu_left, after), lost.short(free_cpu, before)), WHOLE
        ),
        "idle_gpu": graph.op("Mul", gpu_left, none),
    }
    given = np.array([[-weights.get(name, 0.0) for name in TERMS]])
    weighed = graph.op("Concat", *(parts[name] for name in TERMS), axis=1)
    terms = graph.op("Mul", weighed, graph.constant(given), name="terms")
    _rounded(graph, _sum(graph, terms), steps)
    model = graph.model(
        {"candidates": ["batch", width]}, {"score": ["batch", 1], "terms": ["batch", len(TERMS)]}, family
    )
    about = {"columns": rows.columns(names), "terms": TERMS}
    return scorer.finish(model, KIND, family, about, dict(weights))


class Graph:
    """A placement graph as a policy of the simulator."""

    def __init__(self, graph: bytes | Path) -> None:
        self._session = session(graph)
        self._models = rows.models(scorer.described(self._session).about["columns"])

    def __call__(self, room: Room, places: Places, spec: Spec) -> Numbers:
        candidates = rows.of(room, places, spec, self._models)
        return self._session.run(["score"], {"candidates": candidates})[0][:, 0]


class _Fragmentation:
    """The part of the graph that knows the workload: its typical pods, their shares, the models they may use."""

    def __init__(self, graph: Builder, cluster: Cluster, gpu_models: Sequence[str]) -> None:
        typical, shares = cluster.typical()
        asks = [(spec, share) for spec, share in zip(typical, shares, strict=True) if spec.gpus]
        self._graph = graph
        self._cpu, self._gpus, self._milli = (
            graph.constant(np.array([[getattr(spec, name) for spec, _ in asks]]).reshape(1, -1))
            for name in ("cpu", "gpus", "gpu_milli")
        )
        self._shares = graph.constant(np.array([[share] for _, share in asks]).reshape(-1, 1))
        fits = np.array([[float(spec.runs_on(model)) for spec, _ in asks] for model in gpu_models])
        anywhere = np.array([[float(not spec.models) for spec, _ in asks]]).reshape(1, -1)
        first = len(POD) + len(NODE)
        model = graph.columns("candidates", np.arange(first, first + len(gpu_models)))
        allowed = graph.op("MatMul", model, graph.constant(fits.reshape(len(gpu_models), len(asks))))
        self._allowed = graph.op("Max", allowed, graph.constant(anywhere))
        cores = sum(share * spec.cpu for spec, share in asks)
        self._cores_per_milli = float(cores / max(1e-9, sum(share * spec.demand for spec, share in asks)))

    def of(self, cpu: str, gpus: str) -> str:
        """GPU milli that a typical pod cannot use, in the mean over them; of [batch, 1] and [batch, GPUs]."""
        graph = self._graph
        each = graph.op("Unsqueeze", gpus, graph.integers(2))
        large = _at_least(graph, each, self._milli)
        enough = _at_least(graph, _sum(graph, large, keepdims=0), self._gpus)
        fits = graph.op("Mul", graph.op("Mul", enough, _at_least(graph, cpu, self._cpu)), self._allowed)
        usable = graph.op("Mul", _sum(graph, graph.op("Mul", each, large), keepdims=0), fits)
        return graph.op("Sub", _sum(graph, gpus), graph.op("MatMul", usable, self._shares))

    def short(self, cpu: str, gpus: str) -> str:
        """GPU milli that the cores left do not suffice for."""
        graph = self._graph
        served = graph.op("Div", cpu, graph.constant(max(1e-6, self._cores_per_milli)))
        return graph.op("Relu", graph.op("Sub", _sum(graph, gpus), served))


def _taken(graph: Builder, free: str, gpus: str, milli: str) -> str:
    """1 for the GPUs a pod gets, [batch, GPUs]: of those with enough to give the last, which have least to spare."""
    enough = _at_least(graph, free, milli)
    place = graph.op("Sub", _sum(graph, enough), graph.constant(np.arange(MOST_GPUS)[None, :]))
    near = graph.op("Cast", graph.op("LessOrEqual", place, gpus), to=onnx.TensorProto.FLOAT)
    return graph.op("Mul", enough, near)


def _rounded(graph: Builder, total: str, steps: str) -> str:
    if steps == "percent":
        total = graph.op("Floor", graph.op("Mul", graph.op("Add", total, graph.constant(1.0)), graph.constant(100.0)))
    elif steps == "sigmoid":
        total = graph.op("Floor", graph.op("Mul", graph.op("Sigmoid", total), graph.constant(100.0)))
    return graph.op("Identity", total, name="score")


def _at_least(graph: Builder, values: str, least: str) -> str:
    return graph.op("Cast", graph.op("GreaterOrEqual", values, least), to=onnx.TensorProto.FLOAT)


def _sum(graph: Builder, values: str, keepdims: int = 1) -> str:
    return graph.op("ReduceSum", values, graph.integers(1), keepdims=keepdims)


def _scaled(graph: Builder, values: str, by: float) -> str:
    return graph.op("Div", values, graph.constant(by))
