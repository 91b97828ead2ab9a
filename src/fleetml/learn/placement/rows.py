"""The rows that a placement graph scores: what a pod asks for beside what one node has to give."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fleetml.data import MOST_GPUS
from fleetml.learn.placement.cluster import Cluster, Numbers, Places, Spec
from fleetml.learn.placement.simulator import Room

POD = ("pod_cpu", "pod_memory", "pod_gpus", "pod_gpu_milli")
NODE = ("node_cpu", "node_memory", *(f"gpu_{number}" for number in range(MOST_GPUS)))


def of_cluster(cluster: Cluster) -> tuple[str, ...]:
    """Return the GPU models of a cluster, which are columns of a row."""
    return tuple(sorted({model for model in cluster.nodes.model if model}))


def columns(gpu_models: Sequence[str]) -> tuple[str, ...]:
    """Return what a row holds: cores in milli, memory in MiB, GPUs in milli descending; 1 for the node's GPU model."""
    return (*POD, *NODE, *(f"model:{model}" for model in gpu_models))


def of(room: Room, places: Places, spec: Spec, gpu_models: Sequence[str]) -> Numbers:
    """Return the rows [n, columns] of a pod and n nodes."""
    pod = np.tile(np.array([spec.cpu, spec.memory, spec.gpus, spec.gpu_milli], np.float32), (len(places), 1))
    kind = room.model[places, None] == np.array(gpu_models, dtype=str)
    node = (room.cpu[places, None], room.memory[places, None], room.gpus[places])
    return np.concatenate([pod, *node, kind], axis=1, dtype=np.float32)


def models(names: Sequence[str]) -> tuple[str, ...]:
    """Return the GPU models among the columns of a graph."""
    return tuple(name.removeprefix("model:") for name in names if name.startswith("model:"))
