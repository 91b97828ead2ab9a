"""What TensorRT does not take, told from the graph alone: no GPU and no TensorRT needed (docs/serving.md)."""

from collections.abc import Iterator

import onnx
from onnx import TensorProto, numpy_helper

UNSUPPORTED = frozenset(
    (
        *("DynamicQuantizeLinear", "MatMulInteger", "ConvInteger", "QLinearConv", "QLinearMatMul"),
        *(
            "Bernoulli",
            "Multinomial",
            "Unique",
            "Compress",
            "Det",
            "MaxUnpool",
            "MaxRoiPool",
            "DFT",
            "STFT",
            "MelWeightMatrix",
        ),
        *("StringNormalizer", "TfIdfVectorizer", "StringConcat", "StringSplit", "RegexFullMatch"),
        *("SequenceAt", "SequenceConstruct", "SequenceEmpty", "SequenceErase", "SequenceInsert", "SequenceLength"),
        *("SplitToSequence", "ConcatFromSequence", "Optional", "OptionalGetElement", "OptionalHasElement"),
    )
)
"""Operators of the standard domain that its ONNX parser refuses; it has none of other domains (trees of ai.onnx.ml)."""

_QUANTISED = ("QuantizeLinear", "DequantizeLinear")
_TYPES = {
    TensorProto.FLOAT,
    TensorProto.FLOAT16,
    TensorProto.BFLOAT16,
    TensorProto.INT8,
    TensorProto.INT32,
    TensorProto.INT64,
    TensorProto.UINT8,
    TensorProto.BOOL,
}


def faults(model: onnx.ModelProto) -> list[str]:
    """Return in words what keeps a graph from TensorRT; none: its parser should take it."""
    constants = {each.name: each for each in model.graph.initializer}
    found = dict.fromkeys((*_tensor_faults(model), *_node_faults(model.graph, constants)))
    return list(found)


def _tensor_faults(model: onnx.ModelProto) -> Iterator[str]:
    for info in (*model.graph.input, *model.graph.output):
        tensor = info.type.tensor_type
        if tensor.elem_type not in _TYPES:
            yield f"{info.name} is of type {TensorProto.DataType.Name(tensor.elem_type)}; use FLOAT"
        if any(not size.HasField("dim_value") for size in tensor.shape.dim[1:]):
            yield f"{info.name} has a free axis beside the first; fix its size at export"


def _node_faults(graph: onnx.GraphProto, constants: dict[str, TensorProto]) -> Iterator[str]:
    for node in graph.node:
        if node.domain not in ("", "ai.onnx"):
            yield f"operator {node.domain}.{node.op_type}; choose a family without it"
        elif node.op_type in UNSUPPORTED:
            yield f"operator {node.op_type}; quantise statically by QDQ, or choose a family without it"
        elif node.op_type in _QUANTISED:
            yield from _quantisation_faults(node, constants)
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                inner = constants | {each.name: each for each in attribute.g.initializer}
                yield from _node_faults(attribute.g, inner)


def _quantisation_faults(node: onnx.NodeProto, constants: dict[str, TensorProto]) -> Iterator[str]:
    """Scales must be constants; zero points 0, and of a signed type: quantisation is symmetric."""
    if node.input[1] not in constants:
        yield f"{node.op_type} with a scale that is computed; quantise statically"
    if len(node.input) < 3 or not node.input[2]:
        return
    zero = constants.get(node.input[2])
    if zero is None or numpy_helper.to_array(zero).any():
        yield f"{node.op_type} with a zero point other than 0; quantise symmetrically (ActivationSymmetric, WeightSymmetric)"
    if zero is not None and zero.data_type == TensorProto.UINT8:
        yield f"{node.op_type} to UINT8; quantise to INT8"
