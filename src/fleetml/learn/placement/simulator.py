"""Fills a cluster by a policy, pod after pod, and says how much of its GPUs was put to use.

A pod may go where cores, memory, GPUs and the GPU's model suffice; of the nodes of the highest score it takes the first by
name. On the node it takes the GPUs that have least to spare and yet suffice. Checked against the published policies on the
published trace: benchmarks/placement.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from fleetml.learn.placement.cluster import Cluster, Nodes, Numbers, Places, Spec


@dataclass
class Room:
    """What N nodes have to give: cpu [N] milli-cores, memory [N] MiB, gpus [N, MOST_GPUS] milli, descending; model [N] str."""

    cpu: Numbers
    memory: Numbers
    gpus: Numbers
    model: npt.NDArray[np.str_]

    @classmethod
    def of(cls, nodes: Nodes) -> Room:
        return cls(nodes.cpu.copy(), nodes.memory.copy(), nodes.free(), np.array(nodes.model))

    def fits(self, spec: Spec, rows: Places) -> Places:
        """Return those of `rows` that have room for a pod; its GPU model is not looked at."""
        room = (self.cpu[rows] >= spec.cpu) & (self.memory[rows] >= spec.memory)
        if spec.gpus:
            room &= (self.gpus[rows] >= spec.gpu_milli).sum(axis=1) >= spec.gpus
        return rows[room]

    def take(self, spec: Spec, row: int) -> None:
        """Place a pod."""
        self.cpu[row] -= spec.cpu
        self.memory[row] -= spec.memory
        if spec.gpus:
            enough = int((self.gpus[row] >= spec.gpu_milli).sum())
            self.gpus[row, enough - spec.gpus : enough] -= spec.gpu_milli
            self.gpus[row] = -np.sort(-self.gpus[row])


class Policy(Protocol):
    """Scores nodes for a pod, higher is better. The score may depend on the pod and on that node's room only."""

    def __call__(self, room: Room, places: Places, spec: Spec) -> Numbers: ...


@dataclass(frozen=True)
class Filling:
    """What became of one order of arrival: the shares [arrivals] of the cluster's GPU milli asked for, and put to use."""

    arrived: Numbers
    used: Numbers
    refused: int

    def allocation(self, arrived: float = 1.0) -> float:
        """Return the share of the GPUs in use when `arrived` of them were asked for: the mean over ± 0.5 %, as published."""
        near = np.abs(self.arrived - arrived) <= 0.005
        if not near.any():  # a small cluster, in which one pod is more than that
            return float(self.used[np.abs(self.arrived - arrived).argmin()])
        return float(self.used[near].mean())


def fill(cluster: Cluster, order: Places, policy: Policy, until: float = 1.006) -> Filling:
    """Place the pods one by one until `until` times the cluster's GPUs were asked for.

    A score is kept until its node changes: a pod of the same spec asks again only about nodes that did.
    """
    room, nodes = Room.of(cluster.nodes), len(cluster.nodes)
    allowed = np.array([[spec.runs_on(model) for model in cluster.nodes.model] for spec in cluster.specs])
    scores = np.full((len(cluster.specs), nodes), -np.inf, np.float32)
    asked, changed = np.full(len(cluster.specs), -1), np.zeros(nodes, np.int64)
    demand = np.array([spec.demand for spec in cluster.specs]) / cluster.nodes.capacity
    arrived = np.cumsum(demand[order])
    order = order[: int(np.searchsorted(arrived, until)) + 1]
    used, refused = np.zeros(len(order), np.float32), 0
    total = 0.0
    for step, kind in enumerate(order):
        spec, known = cluster.specs[kind], scores[kind]
        stale = np.flatnonzero((changed > asked[kind]) & allowed[kind])
        if len(stale):
            known[stale] = -np.inf
            rows = room.fits(spec, stale)
            if len(rows):
                known[rows] = policy(room, rows, spec)
        asked[kind] = step
        best = int(known.argmax())
        if known[best] > -np.inf:
            room.take(spec, best)
            changed[best] = step + 1
            total += demand[kind]
        else:
            refused += 1
        used[step] = total
    return Filling(arrived[: len(order)].astype(np.float32), used, refused)


def allocation(cluster: Cluster, orders: tuple[Places, ...], policy: Policy) -> tuple[float, ...]:
    """Return the share of the GPUs in use at 100 % asked for, of each order."""
    return tuple(fill(cluster, order, policy).allocation() for order in orders)
