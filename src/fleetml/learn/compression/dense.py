"""The dense layers of a graph as a network, and a network written back in their place."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx import helper, numpy_helper

if TYPE_CHECKING:
    from torch import nn

    from fleetml.learn.compression.qat import Rounded

_KINDS = ("MatMul", "Add", "Relu")


def chain(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    """Return the nodes of the dense layers: from the first product with a constant on, as long as they follow each other."""
    constants = {tensor.name for tensor in model.graph.initializer}
    found: list[onnx.NodeProto] = []
    for node in model.graph.node:
        follows = node.input[0] == found[-1].output[0] if found else node.op_type == "MatMul"
        if follows and node.op_type in _KINDS and set(node.input[1:]) <= constants:
            found.append(node)
    return found


def network(model: onnx.ModelProto) -> nn.Sequential:
    """Return them as a network of Linear and ReLU; empty where there are none."""
    import torch
    from torch import nn

    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    layers: list[nn.Module] = []
    for node in chain(model):
        if node.op_type == "MatMul":
            weight = values[node.input[1]]
            layer = nn.Linear(*weight.shape)
            layer.weight.data, layer.bias.data = torch.from_numpy(weight.T.copy()), torch.zeros(weight.shape[1])
            layers.append(layer)
        elif node.op_type == "Add":
            layer.bias.data = torch.from_numpy(values[node.input[1]].reshape(-1).copy())
        else:
            layers.append(nn.ReLU())
    return nn.Sequential(*layers)


def written(model: onnx.ModelProto, network: nn.Module) -> onnx.ModelProto:
    """Return the graph with the layers of a network in place of its own, which were as many inputs and outputs wide."""
    made = onnx.ModelProto()
    made.CopyFrom(model)
    old = chain(model)
    first, last = old[0].input[0], old[-1].output[0]
    ends = {node.output[0] for node in old}
    place = next(at for at, node in enumerate(model.graph.node) if node.output[0] == old[0].output[0])
    nodes = [node for node in model.graph.node if node.output[0] not in ends]
    new = list(_nodes(network, first, made.graph))
    new[-1].output[0] = last
    del made.graph.node[:]
    made.graph.node.extend([*nodes[:place], *new, *nodes[place:]])
    used = {name for node in made.graph.node for name in node.input}
    kept = [tensor for tensor in made.graph.initializer if tensor.name in used]
    del made.graph.initializer[:], made.graph.value_info[:]
    made.graph.initializer.extend(kept)
    return made


def _nodes(network: nn.Module, values: str, graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """Yield the nodes of each layer in turn; their constants join the graph."""
    from torch import nn

    from fleetml.learn.compression.qat import Rounded

    inside = {
        child
        for module in network.modules()
        if isinstance(module, Rounded)
        for child in module.modules()
        if child is not module
    }
    for number, module in enumerate(module for module in network.modules() if module not in inside):
        name = f"layer_{number}"
        if isinstance(module, nn.ReLU):
            yield helper.make_node("Relu", [values], [values := f"{name}_relu"], name=f"{name}_relu")
        elif isinstance(module, nn.Linear | Rounded):
            layer = module.layer if isinstance(module, Rounded) else module
            weight = layer.weight.detach().numpy().T
            if isinstance(module, Rounded):
                yield from _rounded(module, values, weight, name, graph)
                values = f"{name}_input"
            else:
                graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(weight), f"{name}_weight"))
            yield helper.make_node("MatMul", [values, f"{name}_weight"], [values := f"{name}_product"], name=name)
            if layer.bias is not None:
                graph.initializer.append(numpy_helper.from_array(layer.bias.detach().numpy(), f"{name}_bias"))
                yield helper.make_node("Add", [values, f"{name}_bias"], [values := f"{name}_sum"], name=f"{name}_bias")


def _rounded(
    module: Rounded, values: str, weight: np.ndarray, name: str, graph: onnx.GraphProto
) -> Iterator[onnx.NodeProto]:
    """Yield what rounds the input of a layer, and what makes its INT8 weights float again: `name`_input, `name`_weight."""
    scales, scale = module.weight_scale.numpy(), module.input_scale.numpy().reshape(())
    scales = scales if module.per_channel else scales.reshape(())
    whole = np.clip(np.rint(weight / scales), -128, 127).astype(np.int8)
    constants = {
        "int8": whole,
        "scales": scales,
        "scale": scale,
        "zeros": np.zeros(scales.shape, np.int8),
        "zero": np.int8(0),
    }
    graph.initializer.extend(numpy_helper.from_array(np.asarray(v), f"{name}_{k}") for k, v in constants.items())
    inner = [f"{name}_scale", f"{name}_zero"]
    yield helper.make_node("QuantizeLinear", [values, *inner], [f"{name}_quantised"])
    yield helper.make_node("DequantizeLinear", [f"{name}_quantised", *inner], [f"{name}_input"])
    weights = [f"{name}_int8", f"{name}_scales", f"{name}_zeros"]
    # Of one scale the axis has no meaning
    yield helper.make_node("DequantizeLinear", weights, [f"{name}_weight"], axis=1)
