"""TensorRT 11, by its Python API: strongly typed networks, so precision is what the graph says (QDQ INT8, FP16).

An engine is built once for a graph, a GPU and a version of TensorRT, and kept in a folder. Never run by us on a GPU:
what the tests run stands in for ``tensorrt`` and the CUDA runtime (docs/serving.md).
"""

import hashlib
import importlib
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from fleetml import atomic
from fleetml.errors import ConfigurationError, FleetMLError
from fleetml.learn.graph import InvalidGraph
from fleetml.serving.backends import Array, Arrays, Tensor
from fleetml.serving.backends.tensorrt_rules import faults

ROWS = (1, 32, 1024)
"""Rows of one run: least, those it is tuned for, most."""
WORKSPACE_BYTES = 1 << 30


class TensorRT:
    """Engines are kept in `folder`. Raises ConfigurationError where TensorRT, the CUDA runtime or a GPU is missing."""

    def __init__(self, folder: Path) -> None:
        try:
            self._trt: Any = importlib.import_module("tensorrt")
            self._cuda = Cuda(importlib.import_module("cuda.bindings.runtime"))
            self._gpu = self._cuda.name()
        except (ImportError, FleetMLError) as error:
            raise ConfigurationError(
                f"the back end tensorrt needs TensorRT, cuda-python and a GPU, got {error}; use the image of "
                "images/serving/tensorrt.Dockerfile, or choose the back end cpu"
            ) from error
        self._folder = folder
        self._logger = self._trt.Logger(self._trt.Logger.WARNING)

    def load(self, graph: bytes) -> "Engine":
        try:
            model = onnx.load_model_from_string(graph)
        except Exception as error:  # protobuf's own
            raise InvalidGraph(f"TensorRT must load the graph, got {error}; export the model again") from error
        if wrong := faults(model):
            raise InvalidGraph(f"TensorRT does not take this graph: {'; '.join(wrong)}")
        metadata = {entry.key: entry.value for entry in model.metadata_props}
        plan = self._plan(graph, model)
        engine = self._trt.Runtime(self._logger).deserialize_cuda_engine(plan)
        if engine is None:
            raise InvalidGraph(f"TensorRT must load the engine in {self._path(graph)}, which it refuses; delete it")
        return Engine(self._trt, self._cuda, engine, metadata)

    def _path(self, graph: bytes) -> Path:
        """An engine is good for its graph, for this GPU and this TensorRT only."""
        key = hashlib.sha256(graph + f"/{self._gpu}/{self._trt.__version__}".encode()).hexdigest()
        return self._folder / f"{key}.plan"

    def _plan(self, graph: bytes, model: onnx.ModelProto) -> bytes:
        path = self._path(graph)
        if path.exists():
            return path.read_bytes()
        plan = self._build(graph, model)
        with atomic.aside(path) as temporary:
            temporary.write_bytes(plan)
        return plan

    def _build(self, graph: bytes, model: onnx.ModelProto) -> bytes:
        trt = self._trt
        builder = trt.Builder(self._logger)
        network = builder.create_network()
        parser = trt.OnnxParser(network, self._logger)
        if not parser.parse(graph):
            said = "; ".join(str(parser.get_error(number)) for number in range(parser.num_errors))
            raise InvalidGraph(f"TensorRT must parse the graph, got {said}; export the model again")
        config = builder.create_builder_config()
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, WORKSPACE_BYTES)
        profile = builder.create_optimization_profile()
        for info in model.graph.input:
            rest = tuple(size.dim_value for size in info.type.tensor_type.shape.dim[1:])
            profile.set_shape(info.name, *((rows, *rest) for rows in ROWS))
        config.add_optimization_profile(profile)
        plan = builder.build_serialized_network(network, config)
        if plan is None:
            raise InvalidGraph("TensorRT could not build an engine of this graph; its log says why")
        return bytes(plan)


class Engine:
    """One engine, one context, one stream: runs follow each other."""

    def __init__(self, trt: Any, cuda: "Cuda", engine: Any, metadata: Mapping[str, str]) -> None:
        self._cuda, self._engine = cuda, engine
        self._context = engine.create_execution_context()
        self._stream = cuda.stream()
        self._memory: dict[str, tuple[int, int]] = {}
        self._running = threading.Lock()
        self.metadata = dict(metadata)
        names = [engine.get_tensor_name(number) for number in range(engine.num_io_tensors)]
        given = {name for name in names if engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT}
        self.inputs = tuple(self._tensor(trt, name) for name in names if name in given)
        self.outputs = tuple(self._tensor(trt, name) for name in names if name not in given)

    def run(self, inputs: Arrays) -> Arrays:
        with self._running:
            for tensor in self.inputs:
                array = np.ascontiguousarray(inputs[tensor.name], tensor.dtype)
                if not self._context.set_input_shape(tensor.name, array.shape):
                    raise ValueError(f"the engine takes no {tensor.name} of shape {array.shape}")
                self._cuda.copy_in(self._place(tensor.name, array.nbytes), array, self._stream)
            outputs = {tensor.name: self._room(tensor) for tensor in self.outputs}
            if not self._context.execute_async_v3(self._stream):
                raise RuntimeError("TensorRT did not run the engine; its log says why")
            for name, array in outputs.items():
                self._cuda.copy_out(array, self._memory[name][0], self._stream)
            self._cuda.wait(self._stream)
        return outputs

    def _room(self, tensor: Tensor) -> Array:
        made = np.empty(tuple(self._context.get_tensor_shape(tensor.name)), tensor.dtype)
        self._place(tensor.name, made.nbytes)
        return made

    def _place(self, name: str, size: int) -> int:
        """Return the device memory of an input or output, at least `size` bytes of it."""
        address, had = self._memory.get(name, (0, 0))
        if had < size:
            if address:
                self._cuda.free(address)
            address = self._cuda.allocate(size)
            self._memory[name] = (address, size)
        self._context.set_tensor_address(name, address)
        return address

    def _tensor(self, trt: Any, name: str) -> Tensor:
        shape = tuple(None if size < 0 else int(size) for size in self._engine.get_tensor_shape(name))
        return Tensor(name, np.dtype(trt.nptype(self._engine.get_tensor_dtype(name))), shape)

    def __del__(self) -> None:
        for address, _ in getattr(self, "_memory", {}).values():
            self._cuda.free(address)


class Cuda:
    """The few calls of the CUDA runtime that it takes; each raises FleetMLError where the runtime tells an error."""

    def __init__(self, runtime: Any) -> None:
        self._runtime = runtime

    def name(self) -> str:
        """Return the GPU's name and compute capability."""
        found = self._call("cudaGetDeviceProperties", 0)
        return f"{bytes(found.name).decode(errors='replace').rstrip(chr(0))} {found.major}.{found.minor}"

    def stream(self) -> int:
        return int(self._call("cudaStreamCreate"))

    def allocate(self, size: int) -> int:
        return int(self._call("cudaMalloc", size))

    def free(self, address: int) -> None:
        self._call("cudaFree", address)

    def copy_in(self, address: int, array: Array, stream: int) -> None:
        kind = self._runtime.cudaMemcpyKind.cudaMemcpyHostToDevice
        self._call("cudaMemcpyAsync", address, array.ctypes.data, array.nbytes, kind, stream)

    def copy_out(self, array: Array, address: int, stream: int) -> None:
        kind = self._runtime.cudaMemcpyKind.cudaMemcpyDeviceToHost
        self._call("cudaMemcpyAsync", array.ctypes.data, address, array.nbytes, kind, stream)

    def wait(self, stream: int) -> None:
        self._call("cudaStreamSynchronize", stream)

    def _call(self, name: str, *arguments: Any) -> Any:
        error, *made = getattr(self._runtime, name)(*arguments)
        if int(error) != 0:
            raise FleetMLError(f"the CUDA runtime must do {name}, got {error!r}; look at the GPU (nvidia-smi)")
        return made[0] if made else None
