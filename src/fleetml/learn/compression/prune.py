"""Pruning: whole channels (structured, by torch-pruning), or the smallest weights (magnitude)."""

from __future__ import annotations

import copy
import warnings

from fleetml.learn.compression.compressible import Compressible, Data
from fleetml.learn.compression.networks import network_of

# Channels stay a multiple of this: what vector units and INT8 kernels like.
_LANES = 4


def structured(model: Compressible, amount: float, data: Data) -> Compressible:
    """Return the network with that share of the channels of each layer, those of the largest weights; not tuned."""
    import torch_pruning

    network = copy.deepcopy(network_of(model))
    part = data.prunable(network)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pruner = torch_pruning.pruner.MagnitudePruner(
            part.module,
            part.inputs,
            importance=torch_pruning.importance.MagnitudeImportance(p=2),
            pruning_ratio=1 - amount,
            ignored_layers=list(part.kept),
            round_to=_LANES,
        )
        pruner.step()
    return Compressible(data.exported(network), network, (*model.steps, f"structured {amount:.2g}"))


def magnitude(model: Compressible, amount: float, data: Data) -> Compressible:
    """Return the network with that share of the weights of each layer, the largest; the others are 0. Tuned with them at 0.

    Neither the file nor the answer gets smaller or faster by it: ONNX holds zeros as it holds any number. What it gains is
    gained by who packs the file (a container image, a download).
    """
    from torch.nn.utils import prune

    network = copy.deepcopy(network_of(model))
    layers = [module for module in network.modules() if getattr(module, "weight", None) is not None]
    for layer in layers:
        prune.l1_unstructured(layer, "weight", amount=1 - amount)
    data.tune(network, taught=True)
    for layer in layers:
        prune.remove(layer, "weight")
    return Compressible(data.exported(network), network, (*model.steps, f"magnitude {amount:.2g}"))
