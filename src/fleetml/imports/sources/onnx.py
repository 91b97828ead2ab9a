"""A graph as it is. What it answers is asked of ONNX Runtime without its optimisations, which the server's has."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import onnx
import onnxruntime as ort
from google.protobuf.message import Message

from fleetml.errors import InvalidData
from fleetml.imports.arrays import Array, Arrays
from fleetml.imports.sources import Source
from fleetml.learn.builder import IR_VERSION

MAX_NUMBERS = 1 << 30  # of a tensor: 4 GiB of float32
_Part = TypeVar("_Part")


class Graph:
    """An ONNX file."""

    columns: tuple[str, ...] = ()
    missing = False

    def __init__(self, path: Path) -> None:
        try:
            self._graph = onnx.load(path, load_external_data=False)
        except Exception as error:  # protobuf's and onnx's own errors share no base
            raise InvalidData(f"the file must be a valid ONNX graph, onnx says: {error}; export it again") from error
        if any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in _parts(self._graph, onnx.TensorProto)):
            raise InvalidData(
                "a graph is ONE file, this one keeps its weights in others; save it whole: onnx.save(onnx.load('model.onnx'), 'one.onnx')"
            )
        if loose := [info.name for info in self._graph.graph.output if not info.type.HasField("tensor_type")]:
            raise InvalidData(
                f"outputs of a served graph are tensors, {', '.join(loose)} is none; export it without ZipMap (zipmap=False)"
            )
        try:
            onnx.checker.check_model(self._graph)
        except Exception as error:  # onnx's own errors share no base
            raise InvalidData(f"the file must be a valid ONNX graph, onnx says: {error}; export it again") from error
        _require_small(self._graph)
        self._graph.ir_version = min(self._graph.ir_version, IR_VERSION)
        content = self._graph.SerializeToString()
        # As it is served too: what its optimiser computes while it loads, it computes here first, within limits.
        self._served = _session(content, ort.GraphOptimizationLevel.ORT_ENABLE_ALL)
        self._session = _session(content, ort.GraphOptimizationLevel.ORT_DISABLE_ALL)

    def graph(self) -> onnx.ModelProto:
        return self._graph

    def run(self, inputs: Arrays) -> list[Array]:
        feeds = {name: a.astype(object) if a.dtype.kind == "U" else a for name, a in inputs.items()}
        self._served.run(None, feeds)
        return list(self._session.run(None, feeds))


def _session(content: bytes, level: ort.GraphOptimizationLevel) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.graph_optimization_level = level
    options.log_severity_level = 3
    try:
        return ort.InferenceSession(content, options, ["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's errors share no public base
        raise InvalidData(
            f"ONNX Runtime must run the graph, it says: {error}; export it with standard operators, opset 15 to 23"
        ) from error


def _require_small(model: onnx.ModelProto) -> None:
    """Raises InvalidData where a tensor that the graph makes is huge by its shape: branches that no row takes are folded by who loads it."""
    try:
        inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
    except Exception:  # it is no judge of graphs: what ONNX Runtime takes is
        return
    for info in _parts(inferred, onnx.ValueInfoProto):
        sizes = [dim.dim_value for dim in info.type.tensor_type.shape.dim]
        if math.prod(sizes) > MAX_NUMBERS:
            raise InvalidData(
                f"a tensor inside a graph has at most {MAX_NUMBERS:,} numbers, {info.name} has the shape {sizes}; export a smaller model"
            )


def _parts(part: Any, wanted: type[_Part]) -> Iterator[_Part]:
    """Yield what a graph holds of a kind, wherever it stands: in nodes, branches, loops and functions too."""
    for field, value in part.ListFields():
        if field.message_type is None:
            continue
        for each in [value] if isinstance(value, Message) else value:
            if isinstance(each, wanted):
                yield each
            elif isinstance(each, Message):
                yield from _parts(each, wanted)


def open(path: Path, given: Arrays) -> Source:
    """Raises InvalidData for what ONNX Runtime does not run."""
    return Graph(path)
