"""Graphs as files: the same graph in fewer bytes, with nothing lost."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import onnx
from onnx import numpy_helper

from fleetml.learn import parameters

# The names of tensors, one to two letters for the first 2,756
_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


def compact(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the same graph with short names, each constant once, and no names of nodes, shapes or documentation.

    Where the weights of the network were (`fleetml.parameters`) is left out: they are not what they were.
    """
    made = onnx.ModelProto()
    made.CopyFrom(model)
    graph = made.graph
    _share(graph)
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
