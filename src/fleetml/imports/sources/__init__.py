"""Sources: one module a format, each with ``open(path, given) -> Source``. They run in a child process only.

The module of Keras runs in an environment that holds neither ONNX Runtime nor polars: what sources share imports neither.
"""

from typing import TYPE_CHECKING, Protocol

from fleetml.imports.arrays import Arrays

if TYPE_CHECKING:
    import onnx

    from fleetml.imports.arrays import Array


class Source(Protocol):
    """A model in its own library. `columns` are the names of its features, () where it has none; `missing`: it takes NaN."""

    @property
    def columns(self) -> tuple[str, ...]: ...

    @property
    def missing(self) -> bool: ...

    def graph(self) -> "onnx.ModelProto":
        """Return it as a graph."""
        ...

    def run(self, inputs: Arrays) -> "list[Array]":
        """Return what the original answers, in the order of the graph's outputs."""
        ...
