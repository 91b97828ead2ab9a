"""What TensorRT does not take, told from the graph alone: no GPU and no TensorRT needed (docs/serving.md).

Sources: the ONNX opset guide of TensorRT 11; docs/operators.md of onnx/onnx-tensorrt as of 10.1, the last table at hand, less what
the release notes up to 11.5 added (STFT in 10.5, DFT in 11.2).
"""

from collections.abc import Iterator, Mapping

import onnx
from onnx import TensorProto, numpy_helper

OPSETS = range(9, 26)
"""Versions of the standard domain that its ONNX parser takes."""
LARGEST_K = 3839
"""Places that TopK may ask for; sorting an axis asks for all of its."""
UNSUPPORTED = frozenset(
    (
        *("DynamicQuantizeLinear", "MatMulInteger", "ConvInteger", "QLinearConv", "QLinearMatMul"),
        *(
            "AffineGrid",
            "Bernoulli",
            "CenterCropPad",
            "Col2Im",
            "Compress",
            "Det",
            "ImageDecoder",
            "MaxRoiPool",
            "MaxUnpool",
        ),
        *("BlackmanWindow", "HammingWindow", "HannWindow", "MelWeightMatrix", "Multinomial", "Unique"),
        *("BitShift", "BitwiseAnd", "BitwiseNot", "BitwiseOr", "BitwiseXor"),
        *("NegativeLogLikelihoodLoss", "SoftmaxCrossEntropyLoss"),
        *("StringNormalizer", "TfIdfVectorizer", "StringConcat", "StringSplit", "RegexFullMatch"),
        *("SequenceAt", "SequenceConstruct", "SequenceEmpty", "SequenceErase", "SequenceInsert", "SequenceLength"),
        *(
            "SequenceMap",
            "SplitToSequence",
            "ConcatFromSequence",
            "Optional",
            "OptionalGetElement",
            "OptionalHasElement",
        ),
    )
)
"""Operators of the standard domain that its ONNX parser refuses; it has none of other domains (trees of ai.onnx.ml)."""

_QUANTISED = ("QuantizeLinear", "DequantizeLinear")
_AXES = {"Slice": 3, "Squeeze": 1, "Unsqueeze": 1, "CumSum": 1, "Pad": 3}
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

Constants = Mapping[str, TensorProto]


def faults(model: onnx.ModelProto) -> list[str]:
    """Return in words what keeps a graph from TensorRT; none: its parser should take it."""
    found = dict.fromkeys((*_opset_faults(model), *_tensor_faults(model), *_graph_faults(model.graph, {})))
    return list(found)


def _opset_faults(model: onnx.ModelProto) -> Iterator[str]:
    for opset in model.opset_import:
        if opset.domain in ("", "ai.onnx") and opset.version not in OPSETS:
            yield f"opset {opset.version}, it takes {OPSETS[0]} to {OPSETS[-1]}; convert it (onnx.version_converter)"


def _tensor_faults(model: onnx.ModelProto) -> Iterator[str]:
    for info in (*model.graph.input, *model.graph.output):
        tensor = info.type.tensor_type
        if tensor.elem_type not in _TYPES:
            yield f"{info.name} is of type {TensorProto.DataType.Name(tensor.elem_type)}; use FLOAT"
        if any(not size.HasField("dim_value") for size in tensor.shape.dim[1:]):
            yield f"{info.name} has a free axis beside the first; fix its size at export"


def _graph_faults(graph: onnx.GraphProto, around: Constants) -> Iterator[str]:
    """Yield the faults of a graph; `around` are the constants of those that it is a branch of."""
    constants = {**around, **_constants(graph)}
    for node in graph.node:
        if node.domain not in ("", "ai.onnx"):
            yield f"operator {node.domain}.{node.op_type}; choose a family without it"
        elif node.op_type in UNSUPPORTED:
            yield f"operator {node.op_type}; quantise statically by QDQ, or choose a family without it"
        elif node.op_type in _QUANTISED:
            yield from _quantisation_faults(node, constants)
        elif node.op_type == "TopK":
            yield from _top_faults(node, constants)
        elif node.op_type in _AXES or node.op_type.startswith("Reduce"):
            place = _AXES.get(node.op_type, 1)
            if len(node.input) > place and node.input[place] and node.input[place] not in constants:
                yield f"{node.op_type} over axes that are computed; write them into the graph"
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                yield from _graph_faults(attribute.g, constants)


def _constants(graph: onnx.GraphProto) -> dict[str, TensorProto]:
    """Return the initializers of a graph, and what its nodes of kind Constant hold."""
    found = {each.name: each for each in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant":
            found.update((node.output[0], each.t) for each in node.attribute if each.name == "value")
    return found


def _top_faults(node: onnx.NodeProto, constants: Constants) -> Iterator[str]:
    if any(each.name == "sorted" and each.i == 0 for each in node.attribute):
        yield "TopK whose values are not sorted; ask for them sorted"
    asked = constants.get(node.input[1])
    if asked is not None and (count := int(numpy_helper.to_array(asked).max())) > LARGEST_K:
        yield f"TopK of {count}, it takes {LARGEST_K}; shorten the context"


def _quantisation_faults(node: onnx.NodeProto, constants: Constants) -> Iterator[str]:
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
