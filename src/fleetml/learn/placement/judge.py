"""How placement graphs are judged: by the share of the GPUs in use in fillings that no search has seen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from fleetml.learn.placement import policies
from fleetml.learn.placement.cluster import Episodes, load
from fleetml.learn.placement.policies import BEST_FIT, FGD, Graph
from fleetml.learn.placement.simulator import fill

MEASURE = "gpu_allocation"
MORE_IS_BETTER = True


def read(test: Path) -> Episodes:
    """Return the held-out episodes. Raises InvalidData."""
    return load(test)


def about(held_out: Episodes) -> dict[str, Any]:
    """Return what the scores document says of the test."""
    cluster = held_out.cluster
    gpus = int(cluster.nodes.gpus.sum())
    return {
        "episodes": len(held_out.orders),
        "nodes": len(cluster.nodes),
        "gpus": gpus,
        "pods": int(cluster.counts.sum()),
    }


def baselines(held_out: Episodes) -> dict[str, bytes]:
    """Return the policies that a learnt one has to beat: the first node that fits, the fullest, the published best."""
    built = {
        "first_fit": policies.build(held_out.cluster, {}, "first_fit"),
        "best_fit": policies.build(held_out.cluster, BEST_FIT, "best_fit", "percent"),
        "fgd": policies.build(held_out.cluster, FGD, "fgd", "sigmoid"),
    }
    return {name: model.SerializeToString() for name, model in built.items()}


def score(held_out: Episodes, graph: bytes) -> dict[str, Any]:
    """Return the share of the GPUs in use at 100 % asked for: its mean, each episode's, and the pods refused by then."""
    policy = Graph(graph)
    found = [fill(held_out.cluster, order, policy) for order in held_out.orders]
    shares = [filling.allocation() for filling in found]
    refused = float(np.mean([filling.refused for filling in found]))
    return {MEASURE: float(np.mean(shares)), "per_episode": shares, "refused": refused}
