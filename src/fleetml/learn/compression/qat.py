"""Quantisation-aware tuning: the network learns with its weights and activations rounded, and its graph rounds in the same way.

Symmetric INT8: a scale for each channel of the weights (its largest weight / 127) or one for all, one for each activation (its largest value on
the calibration rows / 127). Rounding lets gradients pass where it does not clip (straight-through: Bengio et al., 2013). The exporter
writes QuantizeLinear and DequantizeLinear with those scales; the weights are then rounded once, in the file. torchao's own
export of such networks fails (0.18).
"""

from __future__ import annotations

import copy

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn
from torch.nn import functional

from fleetml.learn.compression.compressible import GENTLY, Compressible, Data
from fleetml.learn.compression.networks import network_of
from fleetml.learn.compression.quantise import LEAST_WEIGHTS

_LEAST, _LARGEST = -128, 127
_SMALL = 1e-8


def aware(model: Compressible, amount: float, data: Data) -> Compressible:
    """Return the network tuned with its large layers rounded to INT8, as a QDQ graph.

    `amount` 1: a scale for each channel of the weights; less: one for all of them, which saves their bytes.
    """
    network = copy.deepcopy(network_of(model))
    rounded = _rounded(network, per_channel=amount >= 1)
    for layer in rounded:
        layer.measuring = True
    with torch.no_grad():
        network.eval()(*data.inputs())
    for layer in rounded:
        layer.measuring = False
    data.tune(network, taught=True, rate=GENTLY)
    made = data.finished(_weights_rounded(data.exported(network)))
    return Compressible(
        made, None, (*model.steps, "quantisation_aware" if amount >= 1 else "quantisation_aware_per_tensor")
    )


class Rounded(nn.Module):
    """A dense layer or a convolution as INT8 computes it; while `measuring` it only notes how large its numbers get."""

    zeros: Tensor
    weight_scale: Tensor
    input_scale: Tensor
    output_scale: Tensor

    def __init__(self, layer: nn.Linear | nn.Conv1d, per_channel: bool = True) -> None:
        super().__init__()
        self.layer, self.measuring, self.per_channel = layer, False, per_channel
        channels = layer.weight.shape[0] if per_channel else 1
        for name, shape in (("weight_scale", channels), ("input_scale", 1), ("output_scale", 1)):
            self.register_buffer(name, torch.full((shape,), _SMALL))
        self.register_buffer("zeros", torch.zeros(channels, dtype=torch.int32), persistent=False)

    def forward(self, values: Tensor) -> Tensor:
        if self.training or self.measuring:
            largest = self.layer.weight.detach().flatten(1).abs().amax(dim=1)
            largest = largest if self.per_channel else largest.amax().reshape(1)
            self.weight_scale.copy_(largest.clamp_min(_SMALL) / _LARGEST)
        if self.measuring:
            said = self._layer(values, self.layer.weight)
            self.input_scale.copy_(_scale(values))
            self.output_scale.copy_(_scale(said))
            return said
        weight = self._weight()
        said = self._layer(self._activation(values, self.input_scale), weight)
        # ONNX Runtime has no convolution of INT8 that answers in float
        return self._activation(said, self.output_scale) if isinstance(self.layer, nn.Conv1d) else said

    def _weight(self) -> Tensor:
        weight = self.layer.weight
        if not self.per_channel:
            return self._activation(weight, self.weight_scale)
        return torch.fake_quantize_per_channel_affine(weight, self.weight_scale, self.zeros, 0, _LEAST, _LARGEST)

    def _activation(self, values: Tensor, scale: Tensor) -> Tensor:
        return torch.fake_quantize_per_tensor_affine(values, float(scale), 0, _LEAST, _LARGEST)

    def _layer(self, values: Tensor, weight: Tensor) -> Tensor:
        layer = self.layer
        if isinstance(layer, nn.Conv1d):
            return functional.conv1d(
                values, weight, layer.bias, layer.stride, layer.padding, layer.dilation, layer.groups
            )
        return functional.linear(values, weight, layer.bias)


def _scale(values: Tensor) -> Tensor:
    return (values.abs().amax().clamp_min(_SMALL) / _LARGEST).reshape(1)


def _rounded(network: nn.Module, per_channel: bool) -> list[Rounded]:
    """Put a rounded layer in place of each large one; return them."""
    made = []
    for parent in list(network.modules()):
        for name, layer in list(parent.named_children()):
            if type(layer) in (nn.Linear, nn.Conv1d) and layer.weight.numel() >= LEAST_WEIGHTS:  # type: ignore[operator]
                made.append(Rounded(layer, per_channel))  # type: ignore[arg-type]
                setattr(parent, name, made[-1])
    return made


def _weights_rounded(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the graph with QuantizeLinear of constants computed."""
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in list(model.graph.node):
        if node.op_type == "QuantizeLinear" and node.input[0] in constants:
            values, scale = (numpy_helper.to_array(constants[name]) for name in node.input[:2])
            axis = next((attribute.i for attribute in node.attribute if attribute.name == "axis"), 1)
            if scale.ndim and scale.size > 1:
                scale = scale.reshape([-1 if at == axis % values.ndim else 1 for at in range(values.ndim)])
            whole = np.clip(np.rint(values / scale), _LEAST, _LARGEST).astype(np.int8)
            model.graph.initializer.append(numpy_helper.from_array(whole, node.output[0]))
            model.graph.node.remove(node)
    used = {name for node in model.graph.node for name in node.input}
    kept = [tensor for tensor in model.graph.initializer if tensor.name in used]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    return model
