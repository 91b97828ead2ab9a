"""torch.export's .pt2, rewritten without what could run (`fleetml.imports.archives`), loaded without pickle."""

import contextlib
import functools
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx

from fleetml.errors import InvalidData
from fleetml.imports import archives
from fleetml.imports.arrays import Array, Arrays
from fleetml.imports.sources import Source
from fleetml.learn.builder import IR_VERSION


class Program:
    """An exported program."""

    columns: tuple[str, ...] = ()
    missing = False

    def __init__(self, path: Path) -> None:
        import torch

        torch.set_num_threads(1)
        with tempfile.TemporaryDirectory() as scratch, _without_pickle():
            clean = Path(scratch) / "clean.pt2"
            archives.rewrite_torch(path, clean)
            try:
                self._program = torch.export.load(clean)
            except Exception as error:  # whatever its parts raise
                raise InvalidData(
                    f"torch {torch.__version__} must load the file, it says: {error}; export it with this version"
                ) from error

    def graph(self) -> onnx.ModelProto:
        import torch

        made = torch.onnx.export(self._program, dynamo=True, verbose=False)
        if made is None:
            raise InvalidData("torch.onnx.export made nothing of the program; export it as ONNX yourself")
        model = made.model_proto
        model.ir_version = min(model.ir_version, IR_VERSION)
        self._names = [info.name for info in model.graph.input]
        return model

    def run(self, inputs: Arrays) -> list[Array]:
        import torch
        from torch.utils import _pytree

        given = [torch.from_numpy(inputs[name]) for name in self._names]
        with torch.no_grad():
            said = self._program.module(check_guards=False)(*given)
        return [part.numpy() for part in _pytree.tree_leaves(said) if isinstance(part, torch.Tensor)]


def open(path: Path, given: Arrays) -> Source:
    """Raises InvalidData for a file that holds more than a program of torch's own operators and tensors."""
    return Program(path)


@contextlib.contextmanager
def _without_pickle() -> Iterator[None]:
    """The loader of torch.export unpickles with weights_only=False where that fails: here it never does."""
    import torch

    load: Any = torch.load

    @functools.wraps(load)
    def safe(*arguments: Any, **named: Any) -> Any:
        return load(*arguments, **{**named, "weights_only": True})

    torch.load = safe
    try:
        yield
    finally:
        torch.load = load
