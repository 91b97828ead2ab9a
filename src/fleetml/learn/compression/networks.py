"""What changes the network itself: factors of low rank, tuning, and a smaller one taught by the original."""

from __future__ import annotations

import copy
import math
from typing import TYPE_CHECKING

from fleetml.errors import FleetMLError
from fleetml.learn.compression.compressible import Compressible, Data

if TYPE_CHECKING:
    from torch import nn


class NoNetwork(FleetMLError):
    """A technique needs a network, and there is none behind the graph."""


def network_of(model: Compressible) -> nn.Module:
    """Return the network of a model. Raises NoNetwork."""
    if model.network is None:
        done = ", ".join(model.steps) or "nothing"
        raise NoNetwork(
            f"pruning, factors and tuning need the network of a graph, there is none (done so far: {done}); "
            "do them before quantisation, and on the graph of a network of ours"
        )
    return model.network


def low_rank(model: Compressible, amount: float, data: Data) -> Compressible:
    """Return the network with each dense layer as two whose rank is that share of what it could be (truncated SVD).

    A layer that two would not make smaller stays.
    """
    from torch import nn

    network = copy.deepcopy(network_of(model))
    for parent in list(network.modules()):
        for name, layer in list(parent.named_children()):
            if type(layer) is nn.Linear:
                setattr(parent, name, _factors(layer, amount))
    return Compressible(data.exported(network), network, (*model.steps, f"low_rank {amount:.2g}"))


def _factors(layer: nn.Linear, amount: float) -> nn.Module:
    import torch
    from torch import nn

    rows, columns = layer.weight.shape
    rank = max(1, math.ceil(amount * min(rows, columns)))
    if rank * (rows + columns) >= rows * columns:
        return layer
    left, sizes, right = torch.linalg.svd(layer.weight.detach(), full_matrices=False)
    root = sizes[:rank].sqrt()
    first, second = nn.Linear(columns, rank, bias=False), nn.Linear(rank, rows, bias=layer.bias is not None)
    first.weight.data = root[:, None] * right[:rank]
    second.weight.data = left[:, :rank] * root
    if layer.bias is not None:
        second.bias.data = layer.bias.detach().clone()
    return nn.Sequential(first, second)


def tuned(model: Compressible, amount: float, data: Data) -> Compressible:
    """Return the network trained further, by the truth and by the original's answers. `amount` has no meaning."""
    network = copy.deepcopy(network_of(model))
    data.tune(network, taught=True)
    return Compressible(data.exported(network), network, (*model.steps, "tuned"))


def distilled(model: Compressible, amount: float, data: Data) -> Compressible:
    """Return a network of that share of the width, taught by the truth and by the original's answers."""
    return _student(model, amount, data, "distilled", taught=True)


def small_from_scratch(model: Compressible, amount: float, data: Data) -> Compressible:
    """Return a network of that share of the width that saw the truth alone: what a teacher must beat."""
    return _student(model, amount, data, "from_scratch", taught=False)


def _student(model: Compressible, amount: float, data: Data, name: str, taught: bool) -> Compressible:
    network = data.student(amount)
    data.tune(network, taught)
    return Compressible(data.exported(network), network, (*model.steps, f"{name} {amount:.2g}"))
