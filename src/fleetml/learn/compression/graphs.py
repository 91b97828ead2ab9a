"""Graphs as files: the same graph in fewer bytes, with nothing lost."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping

import numpy as np
import onnx
from onnx import helper, numpy_helper

from fleetml.learn import parameters

_SPATIAL = ("Conv", "ConvInteger", "QLinearConv", "AveragePool", "MaxPool")
# A Range and its three numbers are as many bytes as this many whole numbers
_LONG = 16
# The names of tensors, one to two letters for the first 2,756
_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


def compact(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the same graph with short names, each constant once, and no names of nodes, shapes or documentation.

    Attributes that say what holds without them go, and whole numbers in even steps are computed as the graph loads. Where the weights of the network were (`fleetml.parameters`) is left out: they are not what they were.
    """
    made = onnx.ModelProto()
    made.CopyFrom(model)
    graph = made.graph
    _share(graph)
    _ranges(graph)
    _without_defaults(made)
    made.producer_name = made.producer_version = made.doc_string = graph.doc_string = ""
    graph.name = "g"
    outer = {info.name for info in (*graph.input, *graph.output)}
    short = _names(outer)
    names = {name: name for name in outer | {""}}
    for node in graph.node:
        node.name = node.doc_string = ""
        for places in (node.input, node.output):
            for at, name in enumerate(places):
                names.setdefault(name, next(short) if name not in names else name)
                places[at] = names[name]
    for tensor in graph.initializer:
        tensor.name, tensor.doc_string = names.get(tensor.name, tensor.name), ""
    del graph.value_info[:]
    kept = [prop for prop in made.metadata_props if prop.key != parameters.KEY]
    del made.metadata_props[:]
    made.metadata_props.extend(kept)
    return made


def _without_defaults(model: onnx.ModelProto) -> None:
    opsets = {opset.domain: opset.version for opset in model.opset_import}
    for node in model.graph.node:
        schema = onnx.defs.get_schema(node.op_type, opsets[node.domain], node.domain) if _known(node, opsets) else None
        kept = [each for each in node.attribute if not (schema and _is_default(each, node.op_type, schema))]
        del node.attribute[:]
        node.attribute.extend(kept)


def _known(node: onnx.NodeProto, opsets: Mapping[str, int]) -> bool:
    return onnx.defs.has(node.op_type, opsets.get(node.domain, 0), node.domain)


def _is_default(attribute: onnx.AttributeProto, operator: str, schema: onnx.defs.OpSchema) -> bool:
    value, default = helper.get_attribute_value(attribute), schema.attributes[attribute.name].default_value
    if default.type != onnx.AttributeProto.UNDEFINED:
        return attribute.type == default.type and bool(value == helper.get_attribute_value(default))
    # What the standard's text says and its table does not
    plain = {"pads": 0, "strides": 1, "dilations": 1}.get(attribute.name) if operator in _SPATIAL else None
    return plain is not None and all(each == plain for each in value)


def _ranges(graph: onnx.GraphProto) -> None:
    """Put a Range in place of each long constant that is one."""
    for tensor in list(graph.initializer):
        values = numpy_helper.to_array(tensor)
        if values.ndim != 1 or values.dtype != np.int64 or len(values) < _LONG:
            continue
        steps = np.diff(values)
        if not steps[0] or (steps != steps[0]).any():
            continue
        said = {"start": values[0], "limit": values[-1] + steps[0], "step": steps[0]}
        parts = [numpy_helper.from_array(np.array(value), f"{tensor.name}_{name}") for name, value in said.items()]
        graph.initializer.remove(tensor)
        graph.initializer.extend(parts)
        graph.node.insert(0, helper.make_node("Range", [part.name for part in parts], [tensor.name]))


def _names(taken: set[str]) -> Iterator[str]:
    for length in itertools.count(1):
        for letters in itertools.product(_LETTERS, repeat=length):
            if (name := "".join(letters)) not in taken:
                yield name


def _share(graph: onnx.GraphProto) -> None:
    """Let nodes use one of several equal constants, and drop those that none uses."""
    first: dict[tuple[object, ...], str] = {}
    same: dict[str, str] = {}
    for tensor in graph.initializer:
        values = numpy_helper.to_array(tensor)
        same[tensor.name] = first.setdefault((tensor.data_type, values.shape, values.tobytes()), tensor.name)
        raw = numpy_helper.from_array(values, tensor.name)
        if raw.ByteSize() < tensor.ByteSize():
            tensor.CopyFrom(raw)
    for node in graph.node:
        for at, name in enumerate(node.input):
            node.input[at] = same.get(name, name)
    used = {name for node in graph.node for name in node.input} | {info.name for info in graph.output}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)


def nonzero(model: onnx.ModelProto) -> int:
    """Return how many numbers other than zero a graph's float and INT8 constants hold."""
    kinds = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.INT8)
    tensors = (numpy_helper.to_array(t) for t in model.graph.initializer if t.data_type in kinds)
    return sum(int(np.count_nonzero(values)) for values in tensors)
