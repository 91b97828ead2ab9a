"""A graph as it is. What it answers is asked of ONNX Runtime without its optimisations, which the server's has."""

from pathlib import Path

import onnx
import onnxruntime as ort

from fleetml.errors import InvalidData
from fleetml.imports.arrays import Array, Arrays
from fleetml.imports.sources import Source
from fleetml.learn.builder import IR_VERSION


class Graph:
    """An ONNX file."""

    columns: tuple[str, ...] = ()
    missing = False

    def __init__(self, path: Path) -> None:
        try:
            self._graph = onnx.load(path, load_external_data=False)
            onnx.checker.check_model(self._graph)
        except Exception as error:  # protobuf's and onnx's own errors share no base
            raise InvalidData(f"the file must be a valid ONNX graph, onnx says: {error}; export it again") from error
        if any(t.data_location == onnx.TensorProto.EXTERNAL for t in self._graph.graph.initializer):
            raise InvalidData(
                "a graph is ONE file, this one keeps its weights in others; save it whole: onnx.save(onnx.load('model.onnx'), 'one.onnx')"
            )
        self._graph.ir_version = min(self._graph.ir_version, IR_VERSION)
        options = ort.SessionOptions()
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.log_severity_level = 3
        try:
            self._session = ort.InferenceSession(self._graph.SerializeToString(), options, ["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime's errors share no public base
            raise InvalidData(
                f"ONNX Runtime must run the graph, it says: {error}; export it with standard operators, opset 15 to 23"
            ) from error

    def graph(self) -> onnx.ModelProto:
        return self._graph

    def run(self, inputs: Arrays) -> list[Array]:
        feeds = {name: a.astype(object) if a.dtype.kind == "U" else a for name, a in inputs.items()}
        return list(self._session.run(None, feeds))


def open(path: Path, given: Arrays) -> Source:
    """Raises InvalidData for what ONNX Runtime does not run."""
    return Graph(path)
