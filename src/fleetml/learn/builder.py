"""A small builder of ONNX graphs: each method adds a node and returns the name of its result."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

# What every graph of ours is written in, and the newest that ONNX Runtime 1.27 surely loads.
OPSET = 18
IR_VERSION = 10
Shape = Sequence[int | str]


class Builder:
    """Collects the nodes and constants of one graph of float32 tensors."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[bytes, onnx.TensorProto] = {}

    def constant(self, values: npt.ArrayLike, dtype: npt.DTypeLike = np.float32) -> str:
        """Add a constant (each different one once)."""
        array = np.asarray(values, dtype=dtype)
        key = repr((array.shape, array.dtype.str)).encode() + array.tobytes()
        if key not in self.constants:
            self.constants[key] = numpy_helper.from_array(array, f"constant_{len(self.constants)}")
        return self.constants[key].name

    def integers(self, *values: int) -> str:
        """Add a vector of int64, as shapes, axes and indices are given."""
        return self.constant(values, np.int64)

    def op(self, kind: str, *inputs: str, name: str | None = None, **attributes: Any) -> str:
        """Add a node with one result, named `name` where it is an output of the graph."""
        result = name or f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [result], **attributes))
        return result

    def last(self, values: str, count: int) -> str:
        """The last `count` columns of [batch, n]."""
        return self.op("Slice", values, self.integers(-count), self.integers(np.iinfo(np.int64).max), self.integers(1))

    def columns(self, values: str, indices: npt.ArrayLike) -> str:
        """These columns of [batch, n]; a vector of indices keeps two dimensions."""
        return self.op("Gather", values, self.constant(np.atleast_1d(indices), np.int64), axis=1)

    def mean(self, values: str, axis: int = 1) -> str:
        """The mean along an axis, which stays with length 1."""
        return self.op("ReduceMean", values, self.integers(axis), keepdims=1)

    def sorted(self, values: str, count: int) -> str:
        """The rows of [batch, count] in ascending order."""
        result = f"sorted_{len(self.nodes)}"
        inputs = [values, self.integers(count)]
        self.nodes.append(helper.make_node("TopK", inputs, [result, f"{result}_places"], axis=1, largest=0, sorted=1))
        return result

    def model(self, inputs: Mapping[str, Shape], outputs: Mapping[str, Shape], name: str) -> onnx.ModelProto:
        """Return the model of all that was added, with these float32 inputs and outputs."""
        graph = helper.make_graph(
            self.nodes, name, _infos(inputs), _infos(outputs), initializer=list(self.constants.values())
        )
        return helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name="fleetml"
        )


def _infos(tensors: Mapping[str, Shape]) -> list[onnx.ValueInfoProto]:
    return [helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape)) for name, shape in tensors.items()]
