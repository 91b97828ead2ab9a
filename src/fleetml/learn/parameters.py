"""The weights of a network, found again in the graph that it was exported as.

No artifact holds torch's weights, and none needs to: they are the graph's initializers. The exporter renames and transposes
them, folds what is constant, and orders the gates of a GRU anew, so an export writes where each is, found by its value, into
the metadata `fleetml.parameters` (JSON): parameter -> its pieces along the first axis, each [initializer, first number, transposed].
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

from fleetml.learn.graph import InvalidGraph, describe

if TYPE_CHECKING:
    from torch import nn

    from fleetml.learn.neural import Network

KEY = "fleetml.parameters"
# A parameter is looked for whole, then in as many equal pieces as a GRU has gates.
_PIECES = (1, 3)
Numbers = npt.NDArray[np.float32]


def write(network: nn.Module, model: onnx.ModelProto) -> None:
    """Add the architecture of a network and the places of its parameters to its graph.

    Nothing is added where a parameter is not found, or for a network that no architecture describes.
    """
    from fleetml.learn.neural import Network

    if not isinstance(network, Network):
        return
    constants = _constants(model)
    places = {name: _places(parameter.detach().numpy(), constants) for name, parameter in network.named_parameters()}
    if all(places.values()):
        said = {"architecture": asdict(network.architecture), "places": places}
        onnx.helper.set_model_props(model, {**_props(model), KEY: json.dumps(said)})


def rebuilt(model: onnx.ModelProto) -> Network:
    """Return the network that a graph was exported from, with its weights.

    Raises InvalidGraph for a graph that does not say where they are: one of another family, quantised, pruned or not of ours.
    """
    import torch

    from fleetml.learn.architectures import Architecture
    from fleetml.learn.neural import Network

    if KEY not in (props := _props(model)):
        raise InvalidGraph(
            f"a graph must say in its metadata '{KEY}' where its weights are to be trained further, the one of family "
            f"{describe(model).family!r} does not (compressed networks, trees, naive forecasts and imported models never do); give the "
            "graph of a network as its search published it"
        )
    said = json.loads(props[KEY])
    network, constants = Network(describe(model).meta, Architecture(**said["architecture"])), _constants(model)
    state = {
        name: torch.from_numpy(_read(places, tuple(network.get_parameter(name).shape), constants))
        for name, places in said["places"].items()
    }
    network.load_state_dict(state)
    return network.eval()


def _props(model: onnx.ModelProto) -> dict[str, str]:
    return {prop.key: prop.value for prop in model.metadata_props}


def _constants(model: onnx.ModelProto) -> dict[str, Numbers]:
    tensors = (tensor for tensor in model.graph.initializer if tensor.data_type == onnx.TensorProto.FLOAT)
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in tensors}


def _places(value: Numbers, constants: Mapping[str, Numbers]) -> list[list[Any]]:
    """Return the places of the pieces of a parameter, [] where it is not found in as many."""
    for count in _PIECES:
        if len(value) % count == 0:
            found = [next(_found(piece, constants), None) for piece in np.split(value, count)]
            if all(found):
                return [place for place in found if place]
    return []


def _found(piece: Numbers, constants: Mapping[str, Numbers]) -> Iterator[list[Any]]:
    for name, constant in constants.items():
        for transposed in (False, True) if piece.ndim == 2 else (False,):
            flat = np.ravel(piece.T if transposed else piece)
            if constant.size % flat.size == 0:
                rows = constant.reshape(-1, flat.size)
                yield from (
                    [name, int(at) * flat.size, transposed] for at in np.flatnonzero((rows == flat).all(axis=1))
                )


def _read(places: Iterable[list[Any]], shape: tuple[int, ...], constants: Mapping[str, Numbers]) -> Numbers:
    pieces, places = [], list(places)
    whole = (shape[0] // len(places), *shape[1:])
    for name, at, transposed in places:
        flat = np.ravel(constants[name])[at : at + int(np.prod(whole))]
        pieces.append(flat.reshape(whole[::-1]).T if transposed else flat.reshape(whole))
    return np.ascontiguousarray(np.concatenate(pieces))
