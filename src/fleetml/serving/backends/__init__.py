"""Back ends: what runs a graph. One Protocol, one file each, one conformance suite."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from fleetml.errors import ConfigurationError

Array = npt.NDArray[Any]
Arrays = Mapping[str, Array]
"""Arrays by the name of the graph's input or output."""


@dataclass(frozen=True)
class Tensor:
    """An input or output of a graph; None in `shape`: any length. Text is of dtype object."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int | None, ...]


class Session(Protocol):
    """A loaded graph; several threads may run it at once. `metadata` is the graph's ``metadata_props``."""

    @property
    def inputs(self) -> Sequence[Tensor]: ...

    @property
    def outputs(self) -> Sequence[Tensor]: ...

    @property
    def metadata(self) -> Mapping[str, str]: ...

    def run(self, inputs: Arrays) -> Arrays:
        """Return all outputs by name. Raises whatever the runtime raises for arrays that do not fit."""
        ...


class Backend(Protocol):
    """Loads graphs."""

    def load(self, graph: bytes) -> Session:
        """Raises fleetml.learn.graph.InvalidGraph for what this back end does not run."""
        ...


NAMES = ("cpu", "cuda", "tensorrt")


def choose(name: str, engines: Path = Path("engines")) -> Backend:
    """Return the back end of one of `NAMES`; what it builds of graphs is kept in the folder `engines`.

    Raises ConfigurationError for another name, or where its library or its device is missing.
    """
    if name in ("cpu", "cuda"):
        from fleetml.serving.backends.onnx_runtime import OnnxRuntime

        return OnnxRuntime(name)
    if name == "tensorrt":
        from fleetml.serving.backends.tensorrt import TensorRT

        return TensorRT(engines)
    raise ConfigurationError(f"a back end must be one of {', '.join(NAMES)}, got {name!r}; correct it")
