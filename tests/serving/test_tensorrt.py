"""TensorRT: what its rules say of graphs, and everything around the engine, with a stand-in for library and GPU.

The stand-in keeps "device" memory in this process and runs the engine by ONNX Runtime; it checks what it is called with.
"""

import ctypes
import itertools
import math
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from fleetml.data import cluster as table
from fleetml.errors import ConfigurationError, FleetMLError
from fleetml.learn import baselines, export, search_space
from fleetml.learn.anomaly import graphs
from fleetml.learn.anomaly.graphs import Calibration, Layer, Scaling
from fleetml.learn.anomaly.samples import Samples
from fleetml.learn.architectures import Architecture
from fleetml.learn.compression import half, quantise
from fleetml.learn.compression.anomalies import AnomalyData
from fleetml.learn.compression.forecasters import ForecasterData
from fleetml.learn.graph import InvalidGraph
from fleetml.learn.neural import Network
from fleetml.learn.neural_bodies import BODIES
from fleetml.learn.placement import cluster, policies
from fleetml.learn.tabular_trainer import TabularTrainer
from fleetml.learn.windows import Meta, Windows
from fleetml.serving import backends
from fleetml.serving.backends.tensorrt_rules import faults


class Context:
    def __init__(self, session: ort.InferenceSession) -> None:
        self.session, self.shapes, self.places = session, {}, {}  # type: ignore[var-annotated]

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self.shapes[name] = shape
        return shape[1:] == tuple(self._node(name).shape[1:]) and 1 <= shape[0] <= 1024

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return (next(iter(self.shapes.values()))[0], *self._node(name).shape[1:])

    def set_tensor_address(self, name: str, address: int) -> None:
        self.places[name] = address

    def execute_async_v3(self, stream: int) -> bool:
        feeds = {name: self._array(name).copy() for name in self.shapes}
        for node, made in zip(self.session.get_outputs(), self.session.run(None, feeds), strict=True):
            self._array(node.name)[...] = made
        return stream == 7

    def _node(self, name: str) -> Any:
        nodes = (*self.session.get_inputs(), *self.session.get_outputs())
        return next(node for node in nodes if node.name == name)

    def _array(self, name: str) -> Any:
        shape = self.get_tensor_shape(name)
        pointer = ctypes.cast(self.places[name], ctypes.POINTER(ctypes.c_float))
        return np.ctypeslib.as_array(pointer, shape)


class Library:
    """As much of ``tensorrt`` as is used."""

    __version__ = "11.4"
    MemoryPoolType = SimpleNamespace(WORKSPACE="workspace")
    TensorIOMode = SimpleNamespace(INPUT="input", OUTPUT="output")

    def __init__(self) -> None:
        self.built = 0
        self.Logger = type("Logger", (), {"WARNING": 2, "__init__": lambda self, level: None})

    def Builder(self, logger: Any) -> Any:
        profile = SimpleNamespace(shapes={})
        profile.set_shape = lambda name, *shapes: profile.shapes.update({name: shapes})
        config = SimpleNamespace(profiles=[], set_memory_pool_limit=lambda pool, size: None)
        config.add_optimization_profile = config.profiles.append

        def build(network: Any, config: Any) -> bytes:
            self.built += 1
            assert config.profiles[0].shapes["history"] == ((1, 12), (32, 12), (1024, 12))
            return bytes(network.graph)

        return SimpleNamespace(
            create_network=lambda: SimpleNamespace(graph=b""),
            create_builder_config=lambda: config,
            create_optimization_profile=lambda: profile,
            build_serialized_network=build,
        )

    def OnnxParser(self, network: Any, logger: Any) -> Any:
        def parse(graph: bytes) -> bool:
            network.graph = graph
            return True

        return SimpleNamespace(parse=parse, num_errors=0)

    def Runtime(self, logger: Any) -> Any:
        def load(plan: bytes) -> Any:
            session = ort.InferenceSession(plan)
            given = [node.name for node in session.get_inputs()]
            nodes = {node.name: node for node in (*session.get_inputs(), *session.get_outputs())}
            return SimpleNamespace(
                session=session,
                num_io_tensors=len(nodes),
                get_tensor_name=list(nodes).__getitem__,
                get_tensor_mode=lambda name: "input" if name in given else "output",
                get_tensor_shape=lambda name: [-1, *nodes[name].shape[1:]],
                get_tensor_dtype=lambda name: "float",
                create_execution_context=lambda: Context(session),
            )

        return SimpleNamespace(deserialize_cuda_engine=load)

    @staticmethod
    def nptype(dtype: str) -> type:
        return np.float32


class Runtime:
    """As much of the CUDA runtime as is used."""

    cudaMemcpyKind = SimpleNamespace(cudaMemcpyHostToDevice=1, cudaMemcpyDeviceToHost=2)

    def __init__(self) -> None:
        self.memory: dict[int, Any] = {}
        self.name = b"NVIDIA H100\0\0"
        self.numbers = itertools.count(7)

    def cudaGetDeviceProperties(self, device: int) -> tuple[int, Any]:
        return 0, SimpleNamespace(name=self.name, major=9, minor=0)

    def cudaStreamCreate(self) -> tuple[int, int]:
        return 0, 7

    def cudaStreamSynchronize(self, stream: int) -> tuple[int]:
        return (0 if stream == 7 else 400,)

    def cudaMalloc(self, size: int) -> tuple[int, int]:
        made = ctypes.create_string_buffer(size)
        self.memory[ctypes.addressof(made)] = made
        return 0, ctypes.addressof(made)

    def cudaFree(self, address: int) -> tuple[int]:
        del self.memory[address]
        return (0,)

    def cudaMemcpyAsync(self, to: int, source: int, size: int, kind: int, stream: int) -> tuple[int]:
        assert (to if kind == 1 else source) in self.memory
        ctypes.memmove(to, source, size)
        return (0,)


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Library:
    made = Library()
    monkeypatch.setitem(sys.modules, "tensorrt", made)  # type: ignore[arg-type]
    monkeypatch.setitem(sys.modules, "cuda", SimpleNamespace())  # type: ignore[arg-type]
    monkeypatch.setitem(sys.modules, "cuda.bindings", SimpleNamespace())  # type: ignore[arg-type]
    monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", Runtime())  # type: ignore[arg-type]
    return made


def test_it_computes_what_the_graph_says_for_growing_and_shrinking_batches(
    library: Library, tmp_path: Path, graph: Callable[..., Path]
) -> None:
    session = backends.choose("tensorrt", tmp_path).load(graph(add=2).read_bytes())
    assert [(tensor.name, tensor.shape) for tensor in session.inputs] == [
        ("history", (None, 12)),
        ("covariates", (None, 1)),
    ]
    assert session.metadata["fleetml.target"] == "bandwidth"
    for rows in (1, 5, 2):
        history = np.arange(12 * rows, dtype=np.float32).reshape(rows, 12)
        made = session.run({"history": history, "covariates": np.full((rows, 1), np.nan, np.float32)})
        np.testing.assert_array_equal(made["forecast"], np.repeat(history[:, -1:] + 2, 4, axis=1))
    with pytest.raises(ValueError, match=r"takes no history of shape \(1, 3\)"):
        session.run({"history": np.zeros((1, 3), np.float32), "covariates": np.zeros((1, 1), np.float32)})


def test_an_engine_is_built_once_for_a_graph_a_gpu_and_a_version(
    library: Library, tmp_path: Path, graph: Callable[..., Path]
) -> None:
    content = graph().read_bytes()
    for _ in range(2):
        backends.choose("tensorrt", tmp_path).load(content)
    assert library.built == 1
    sys.modules["cuda.bindings.runtime"].name = b"NVIDIA A10"
    backends.choose("tensorrt", tmp_path).load(content)
    assert library.built == 2
    library.__version__ = "11.5"  # type: ignore[misc]
    backends.choose("tensorrt", tmp_path).load(content)
    assert library.built == 3
    assert len(list(tmp_path.glob("*.plan"))) == 3


def test_what_the_gpu_refuses_is_told(library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    backend = backends.choose("tensorrt", tmp_path)
    monkeypatch.setattr(Runtime, "cudaStreamCreate", lambda self: (2, 0))
    with pytest.raises(FleetMLError, match="must do cudaStreamCreate, got 2"):
        backend._cuda.stream()  # type: ignore[attr-defined]
    with pytest.raises(InvalidGraph, match="TensorRT must load the graph"):
        backend.load(b"no graph")
    monkeypatch.setattr(Runtime, "cudaGetDeviceProperties", lambda self, device: (100, None))
    with pytest.raises(ConfigurationError, match="got the CUDA runtime must do cudaGetDeviceProperties"):
        backends.choose("tensorrt", tmp_path)


def test_without_the_library_it_says_what_it_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(ConfigurationError, match=r"tensorrt\.Dockerfile, or choose the back end cpu"):
        backends.choose("tensorrt", tmp_path)


def quantised(zero: int = 0, kind: Any = np.int8) -> onnx.ModelProto:
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 4])
    constants = [
        numpy_helper.from_array(np.float32(0.1), "scale"),
        numpy_helper.from_array(np.array(zero, kind), "zero"),
    ]
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["y"]),
    ]
    made = helper.make_graph(nodes, "g", [x], [y], constants)
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)])


def test_rules_take_symmetric_int8_and_our_own_graphs(graph: Callable[..., Path]) -> None:
    assert faults(quantised()) == []
    assert faults(onnx.load(graph())) == []


def test_rules_name_what_the_parser_would_refuse() -> None:
    assert any("zero point other than 0" in fault for fault in faults(quantised(3)))
    assert any("to UINT8" in fault for fault in faults(quantised(0, np.uint8)))
    computed = quantised()
    del computed.graph.initializer[0]
    assert any("scale that is computed" in fault for fault in faults(computed))
    dynamic = quantised()
    dynamic.graph.node.append(helper.make_node("DynamicQuantizeLinear", ["x"], ["a", "b", "c"]))
    dynamic.graph.node.append(helper.make_node("TreeEnsembleRegressor", ["x"], ["t"], domain="ai.onnx.ml"))
    dynamic.graph.node.append(
        helper.make_node(
            "If", ["x"], ["u"], then_branch=helper.make_graph([helper.make_node("Unique", ["x"], ["v"])], "t", [], [])
        )
    )
    dynamic.graph.input.append(helper.make_tensor_value_info("s", TensorProto.STRING, ["batch", "any"]))
    found = faults(dynamic)
    for words in ("DynamicQuantizeLinear", "ai.onnx.ml.TreeEnsembleRegressor", "Unique", "of type STRING", "free axis"):
        assert any(words in fault for fault in found), (words, found)


def graph_of(*nodes: onnx.NodeProto, opset: int = 18, **constants: Any) -> onnx.ModelProto:
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 8])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 8])
    known = [numpy_helper.from_array(np.array(value, np.int64), name) for name, value in constants.items()]
    graph = helper.make_graph(list(nodes), "g", [x], [y], known)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])


@pytest.mark.parametrize(("opset", "told"), [(8, "opset 8, it takes 9 to 25"), (9, ""), (25, ""), (26, "opset 26")])
def test_rules_know_the_opsets(opset: int, told: str) -> None:
    found = faults(graph_of(helper.make_node("Relu", ["x"], ["y"]), opset=opset))
    assert found == [] if not told else told in found[0]


@pytest.mark.parametrize(
    ("k", "sorted_", "told"), [(3839, 1, ""), (3840, 1, "TopK of 3840, it takes 3839"), (3, 0, "not sorted")]
)
def test_rules_of_sorting(k: int, sorted_: int, told: str) -> None:
    found = faults(graph_of(helper.make_node("TopK", ["x", "k"], ["y", "p"], sorted=sorted_), k=[k]))
    assert found == [] if not told else told in found[0]


@pytest.mark.parametrize("operator", ["ReduceSum", "Squeeze", "CumSum"])
def test_axes_must_be_constants(operator: str) -> None:
    constant = helper.make_node("Constant", [], ["a"], value=numpy_helper.from_array(np.array([1])))
    assert faults(graph_of(constant, helper.make_node(operator, ["x", "a"], ["y"]))) == []
    assert faults(graph_of(helper.make_node(operator, ["x", "axes"], ["y"]), axes=[1])) == []
    (fault,) = faults(graph_of(helper.make_node(operator, ["x", "x"], ["y"])))
    assert fault == f"{operator} over axes that are computed; write them into the graph"


NETWORKS = {"mlp", "tcn", "gru", "nbeats", "patch_transformer"}


def test_what_trainings_make_passes_or_is_named(windows: Callable[..., Windows], meta: Meta) -> None:
    """The families of all searches, compressed in every way; docs/serving.md shows the table."""
    trainer = TabularTrainer(windows(100), windows(40, seed=1), seed=0)
    for family, space in trainer.families.items():
        made = trainer.train(family, search_space.defaults(space), math.inf, lambda epoch, score: None).graph
        assert faults(made), family
        assert all("operator ai.onnx.ml." in fault for fault in faults(made)), family
    assert set(BODIES) == NETWORKS
    for family in BODIES:
        made = export.from_torch(Network(meta, Architecture(family, 128, 2)), meta, {})
        assert faults(made) == [], family
        data = ForecasterData(made, windows(40), windows(40), 0, 0)
        assert faults(quantise.static(data.original(), 1.0, data).graph) == [], family
        assert faults(half.fp16(data.original(), 1.0, data).graph) == [], family
        assert any("MatMulInteger" in fault for fault in faults(quantise.dynamic(data.original(), 1.0, data).graph)), (
            family
        )
    for baseline in (baselines.last_value, baselines.seasonal_naive):
        assert faults(baseline(meta)) == []


def test_anomaly_and_placement_pass_but_for_dynamic_int8() -> None:
    flat = Scaling(np.zeros(6, np.float32), np.ones(6, np.float32))
    layers = [Layer(np.ones((12, 96), np.float32), np.zeros(96, np.float32))]
    layers.append(Layer(np.ones((96, 6), np.float32), np.zeros(6, np.float32)))
    network = graphs.network(flat, layers, Calibration(), {})
    assert faults(network) == []
    assert faults(graphs.distance(flat, Calibration(), "z_score")) == []
    rows = Samples(np.array(["a", "b"] * 40), np.random.default_rng(0).uniform(0, 9, (80, 6)).astype(np.float32))
    data = AnomalyData(network, rows, 0, 0)
    assert faults(quantise.static(data.original(), 1.0, data).graph) == []
    assert any("DynamicQuantizeLinear" in each for each in faults(quantise.dynamic(data.original(), 1.0, data).graph))
    nodes = cluster.from_table(table.generate("cluster://?nodes=8"))
    assert faults(policies.build(nodes, policies.FGD, "fgd")) == []
