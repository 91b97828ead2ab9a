"""The kind any, a graph that says nothing of itself, and raw tensors for a graph of any kind (Open Inference Protocol)."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from fleetml.errors import InvalidParameter
from fleetml.serving.backends import Array, Arrays, Session, Tensor
from fleetml.serving.model import Model


class Tensors:
    """Nothing is known of such a graph but its inputs and outputs."""

    def open(self, name: str, session: Session) -> None:
        return None

    def covariates(self, about: None) -> Sequence[str]:
        return ()

    def columns(self, about: None) -> Sequence[str]:
        return ()

    def features(self, about: None, inputs: Sequence[Arrays]) -> npt.NDArray[np.float64]:
        return np.empty((len(inputs), 0))

    def told(self, about: None, outputs: Arrays) -> None:
        """Nobody knows what they mean."""


KIND = Tensors()


def check(model: Model, inputs: Arrays) -> None:
    """Raises InvalidParameter for arrays that are not what the graph takes: names, types, shapes, rows in common."""
    wanted = model.session.inputs
    if len(inputs) != len(wanted) or not all(tensor.name in inputs for tensor in wanted):
        names = sorted(tensor.name for tensor in wanted)
        raise InvalidParameter(
            f"model {model.name} version {model.version} takes the inputs {names}, got {sorted(inputs)}; send these"
        )
    for tensor in wanted:
        array = inputs[tensor.name]
        if not _fits(tensor, array):
            raise InvalidParameter(
                f"input {tensor.name} of model {model.name} version {model.version} must be {tensor.dtype} of shape "
                f"{_shape(tensor.shape)} and not empty, got {array.dtype} of shape {_shape(array.shape)}; send it so"
            )
    if model.batchable and len({len(array) for array in inputs.values()}) > 1:
        raise InvalidParameter(
            f"all inputs of model {model.name} must have as many rows, got "
            f"{ ({name: len(array) for name, array in inputs.items()}) }; send a row for each"
        )


def _fits(tensor: Tensor, array: Array) -> bool:
    shape = array.shape
    if array.dtype != tensor.dtype or len(shape) != len(tensor.shape) or shape[:1] == (0,):
        return False
    for size, found in zip(tensor.shape, shape, strict=True):  # noqa: SIM110 - a generator costs thrice as much
        if size is not None and size != found:
            return False
    return True


def _shape(shape: Sequence[int | None]) -> str:
    return str(["any" if size is None else size for size in shape])
