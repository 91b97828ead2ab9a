"""What a graph costs, counted and not measured: its parameters, and the floating-point operations (FLOPs) of one row.

The same graph gives the same count on every machine, which a latency never does: what a seeded search goes by.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto

from fleetml.learn.graph import InvalidGraph

Shape = tuple[int, ...]
Shapes = Mapping[str, Shape]
# What moves or names numbers and computes none.
_FREE = frozenset(
    [
        "Constant",
        "ConstantOfShape",
        "Shape",
        "Reshape",
        "Flatten",
        "Squeeze",
        "Unsqueeze",
        "Transpose",
        "Slice",
        "Split",
        "Concat",
        "Gather",
        "GatherElements",
        "Identity",
        "Cast",
        "Expand",
        "Pad",
        "Dropout",
        "Tile",
        "Range",
    ]
)
# Operations for each number of the input, for what is more than one comparison or addition each.
_REDUCTIONS = {"Softmax": 5, "LogSoftmax": 5, "LayerNormalization": 8}


@dataclass(frozen=True)
class Cost:
    """`parameters`: numbers of type float among the initializers. `operations`: FLOPs of one row, a multiply-add being two."""

    parameters: int
    operations: int


def count(model: onnx.ModelProto) -> Cost:
    """Return what a graph without loops costs for one row.

    Matrix products, convolutions and recurrent cells count 2 for a multiply-add, sorting n log2 n, softmax and normalisation a few for
    each number, anything else 1 for each number of its result. Shapes are those of a run. Raises InvalidGraph when it does not run.
    """
    shapes = _shapes(model)
    parameters = sum(math.prod(t.dims) for t in model.graph.initializer if t.data_type == TensorProto.FLOAT)
    return Cost(parameters, sum(_operations(node, shapes) for node in model.graph.node))


def _shapes(model: onnx.ModelProto) -> Shapes:
    """Return the shape of every tensor when the graph is run on one row of ones."""
    seen = onnx.ModelProto()
    seen.CopyFrom(model)
    known = {info.name for info in seen.graph.output}
    names = [name for node in seen.graph.node for name in node.output if name and name not in known]
    seen.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    try:
        session = ort.InferenceSession(seen.SerializeToString(), options, providers=["CPUExecutionProvider"])
        feeds = {info.name: np.ones([_row(size) for size in info.shape], np.float32) for info in session.get_inputs()}
        outputs = [info.name for info in session.get_outputs()]
        found = dict(zip(outputs, session.run(outputs, feeds), strict=True))
    except Exception as error:  # ONNX Runtime's errors share no public base
        raise InvalidGraph(
            f"a graph must run on one row of float32 to be counted, got {error}; export it again"
        ) from error
    shapes = {name: np.shape(value) for name, value in {**feeds, **found}.items()}
    return {**shapes, **{tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}}


def _row(size: int | str | None) -> int:
    return size if isinstance(size, int) else 1


def _operations(node: onnx.NodeProto, shapes: Shapes) -> int:
    if node.op_type in _FREE:
        return 0
    inputs = [shapes.get(name, ()) for name in node.input]
    result = math.prod(shapes.get(node.output[0], ()))
    if counted := _COUNTS.get(node.op_type):
        return counted(inputs, result)
    if node.op_type in _REDUCTIONS:
        return _REDUCTIONS[node.op_type] * math.prod(inputs[0])
    if node.op_type.startswith(("Reduce", "Global", "AveragePool")):
        return max(result, math.prod(inputs[0]))
    return result


def _matmul(inputs: Sequence[Shape], result: int) -> int:
    return 2 * result * inputs[0][-1]


def _gemm(inputs: Sequence[Shape], result: int) -> int:
    """The inner length, whichever operand is transposed: rows x inner, inner x columns."""
    inner = math.isqrt(math.prod(inputs[0]) * math.prod(inputs[1]) // max(result, 1))
    return 2 * result * inner + result * (len(inputs) > 2)


def _conv(inputs: Sequence[Shape], result: int) -> int:
    return 2 * result * math.prod(inputs[1][1:]) + result * (len(inputs) > 2)


def _recurrent(inputs: Sequence[Shape], result: int) -> int:
    """Every step multiplies its input [.., I] and its state [.., H] by the weights of all gates, W [d, G H, I], R [d, G H, H]."""
    steps, rows = inputs[0][0], inputs[0][1]
    return 2 * steps * rows * (math.prod(inputs[1]) + math.prod(inputs[2]))


def _sorting(inputs: Sequence[Shape], result: int) -> int:
    length = inputs[0][-1]
    return math.prod(inputs[0]) * max(1, math.ceil(math.log2(length))) if length > 1 else 0


_COUNTS: dict[str, Callable[[Sequence[Shape], int], int]] = {
    "MatMul": _matmul,
    "Gemm": _gemm,
    "Conv": _conv,
    "GRU": _recurrent,
    "LSTM": _recurrent,
    "TopK": _sorting,
}
