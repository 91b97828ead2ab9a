"""ONNX Runtime, on the CPU or on CUDA."""

import re
from typing import Any

import numpy as np
import onnxruntime as ort

from fleetml.errors import ConfigurationError
from fleetml.learn import forecaster
from fleetml.serving.backends import Arrays, Tensor

PROVIDERS = {"cpu": ("CPUExecutionProvider",), "cuda": ("CUDAExecutionProvider", "CPUExecutionProvider")}
_NAMED = {"float": "float32", "double": "float64", "string": "object"}


class OnnxRuntime:
    """`device` is a key of `PROVIDERS`; `threads` of one session."""

    def __init__(self, device: str = "cpu", threads: int = 1) -> None:
        self._providers = PROVIDERS[device]
        self._threads = threads
        if missing := set(self._providers) - set(ort.get_available_providers()):
            raise ConfigurationError(
                f"the back end {device} needs ONNX Runtime with {', '.join(sorted(missing))}, this one has "
                f"{', '.join(ort.get_available_providers())}; install onnxruntime-gpu, or choose the back end cpu"
            )

    def load(self, graph: bytes) -> "Loaded":
        return Loaded(forecaster.session(graph, self._threads, self._providers))


class Loaded:
    """A session of ONNX Runtime."""

    def __init__(self, session: ort.InferenceSession) -> None:
        self._session = session
        self.inputs = tuple(_tensor(node) for node in session.get_inputs())
        self.outputs = tuple(_tensor(node) for node in session.get_outputs())
        self.metadata: dict[str, str] = dict(session.get_modelmeta().custom_metadata_map)
        self._names = [tensor.name for tensor in self.outputs]

    def run(self, inputs: Arrays) -> Arrays:
        return dict(zip(self._names, self._session.run(self._names, inputs), strict=True))


def _tensor(node: Any) -> Tensor:
    """``tensor(float)`` and ``["batch", 288]`` as NumPy says them; what NumPy has no type for is object."""
    inner = re.fullmatch(r"tensor\((\w+)\)", node.type)
    said = inner.group(1) if inner else "object"
    try:
        dtype = np.dtype(_NAMED.get(said, said))
    except TypeError:
        dtype = np.dtype(object)
    return Tensor(node.name, dtype, tuple(size if isinstance(size, int) else None for size in node.shape or ()))
