"""FP16, a format of GPUs: TensorRT 11 runs in FP16 what the graph says is FP16. ONNX Runtime's CPU kernels cast back, which is slower.

Only the dense part is converted: products, convolutions, and what stands between them. A history in kB/s exceeds 65,504, FP16's
largest number, so what scales it and what multiplies by its scale stay in float32; inputs and outputs stay float32 too.
(The graph that ONNX Runtime 1.27's own converter makes is not valid once some nodes stay: it casts an input twice.)
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from fleetml.learn.compression.compressible import Compressible, Data
from fleetml.learn.compression.quantise import OPERATORS

# What passes on, bounded, what products gave
_BETWEEN = frozenset(
    ("Add", "Relu", "Pad", "Concat", "Slice", "Gather", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "ReduceMean")
)  # fmt: skip


def fp16(model: Compressible, amount: float, data: Data) -> Compressible:
    """Return the graph with its dense part in FP16: half the bytes, weights rounded to 11 bits. `amount` has no meaning."""
    made = onnx.ModelProto()
    made.CopyFrom(model.graph)
    converted = list(_Converter(made.graph).nodes())
    del made.graph.node[:]
    made.graph.node.extend(converted)
    used = {name for node in converted for name in node.input}
    constants = [tensor for tensor in made.graph.initializer if tensor.name in used]
    del made.graph.initializer[:], made.graph.value_info[:]
    made.graph.initializer.extend(constants)
    return Compressible(data.finished(made), None, (*model.steps, "fp16"))


class _Converter:
    """Gives the dense nodes FP16 twins of what they take, and casts back what the others take of them."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self.graph = graph
        self.floats = {tensor.name: tensor for tensor in graph.initializer if tensor.data_type == TensorProto.FLOAT}
        self.others = {tensor.name for tensor in graph.initializer} - set(self.floats)
        self.twins: dict[str, str] = {}
        self.dense = self._dense()

    def nodes(self) -> Iterator[onnx.NodeProto]:
        """Yield the nodes of the converted graph, in an order in which they can run."""
        for at, node in enumerate(self.graph.node):
            if at not in self.dense:
                yield node
                continue
            for name in {name for name in node.input if name and name not in self.others}:
                yield from self._twin(name)
            taken = [self.twins.get(name, name) for name in node.input]
            given = list(node.output)
            self.twins |= {name: f"{name}_fp16" for name in given}
            node.input[:] = taken
            node.output[:] = [self.twins[name] for name in given]
            yield node
            yield from (
                helper.make_node("Cast", [self.twins[name]], [name], to=TensorProto.FLOAT)
                for name in given
                if self._asked_elsewhere(name)
            )

    def _twin(self, name: str) -> Iterator[onnx.NodeProto]:
        if name in self.twins:
            return
        self.twins[name] = f"{name}_fp16"
        if name in self.floats:
            values = numpy_helper.to_array(self.floats[name]).astype(np.float16)
            self.graph.initializer.append(numpy_helper.from_array(values, self.twins[name]))
        else:
            yield helper.make_node("Cast", [name], [self.twins[name]], to=TensorProto.FLOAT16)

    def _asked_elsewhere(self, name: str) -> bool:
        outer = any(info.name == name for info in self.graph.output)
        return outer or any(name in node.input for at, node in enumerate(self.graph.node) if at not in self.dense)

    def _dense(self) -> set[int]:
        """Return the places of products, and of what is fed by nothing but them and constants."""
        dense: set[int] = set()
        results: set[str] = set()
        for at, node in enumerate(self.graph.node):
            fed = {name for name in node.input if name} - set(self.floats) - self.others
            if node.op_type in OPERATORS or (node.op_type in _BETWEEN and fed and fed <= results):
                dense.add(at)
                results |= set(node.output)
        return dense


# Casts cost bytes too: a constant of fewer numbers stays
_LEAST = 32
_LEAST_INT8 = 96
_LEVELS = 127
_LARGEST = 60_000.0
_TAKERS = (*OPERATORS, "Add")


def fp16_constants(model: Compressible, amount: float, data: Data) -> Compressible:
    """Return the graph with what is left of float weights and biases written in FP16 and cast back: computed as before.

    ONNX Runtime casts them once, as it loads. `amount` has no meaning.
    """
    return _constants(model, data, int8_from=math.inf, name="fp16_constants")


def int8_constants(model: Compressible, amount: float, data: Data) -> Compressible:
    """Return the graph with the larger ones of them in INT8 with one scale each, the others in FP16: computed as before too."""
    return _constants(model, data, int8_from=_LEAST_INT8, name="int8_constants")


def _constants(model: Compressible, data: Data, int8_from: float, name: str) -> Compressible:
    made = onnx.ModelProto()
    made.CopyFrom(model.graph)
    takers: dict[str, set[str]] = {}
    for node in made.graph.node:
        for taken in node.input:
            takers.setdefault(taken, set()).add(node.op_type)
    first: list[onnx.NodeProto] = []
    for tensor in list(made.graph.initializer):
        if tensor.data_type != TensorProto.FLOAT or not takers.get(tensor.name, set()) <= set(_TAKERS):
            continue
        values = numpy_helper.to_array(tensor)
        if values.size >= int8_from and values.any():
            first += _int8(tensor, values, made.graph)
        elif values.size >= _LEAST and np.abs(values).max() <= _LARGEST:
            first.append(helper.make_node("Cast", [f"{tensor.name}_fp16"], [tensor.name], to=TensorProto.FLOAT))
            tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{tensor.name}_fp16"))
    nodes = list(made.graph.node)
    del made.graph.node[:]
    made.graph.node.extend([*first, *nodes])
    return Compressible(data.finished(made), None, (*model.steps, name))


def _int8(tensor: onnx.TensorProto, values: np.ndarray, graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    """Return what makes a constant float again: a cast and a product, which ONNX Runtime computes as it loads (not a DequantizeLinear)."""
    name, scale = tensor.name, np.float32(np.abs(values).max() / _LEVELS)
    graph.initializer.append(numpy_helper.from_array(np.asarray(scale), f"{name}_scale"))
    tensor.CopyFrom(numpy_helper.from_array(np.rint(values / scale).astype(np.int8), f"{name}_int8"))
    return [
        helper.make_node("Cast", [f"{name}_int8"], [f"{name}_whole"], to=TensorProto.FLOAT),
        helper.make_node("Mul", [f"{name}_whole", f"{name}_scale"], [name]),
    ]
