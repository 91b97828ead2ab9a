"""The kind any, a graph that says nothing of itself, and raw tensors for a graph of any kind (Open Inference Protocol)."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from fleetml.errors import InvalidParameter
from fleetml.serving.backends import Arrays, Session
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


KIND = Tensors()


def check(model: Model, inputs: Arrays) -> None:
    """Raises InvalidParameter for arrays that are not what the graph takes: names, types, shapes, rows in common."""
    wanted = {tensor.name: tensor for tensor in model.session.inputs}
    if set(inputs) != set(wanted):
        raise InvalidParameter(
            f"model {model.name} version {model.version} takes the inputs {sorted(wanted)}, got {sorted(inputs)}; send these"
        )
    for name, array in inputs.items():
        tensor = wanted[name]
        fits = array.ndim == len(tensor.shape) and all(
            size in (None, found) for size, found in zip(tensor.shape, array.shape, strict=True)
        )
        if array.dtype != tensor.dtype or not fits or array.shape[:1] == (0,):
            raise InvalidParameter(
                f"input {name} of model {model.name} version {model.version} must be {tensor.dtype} of shape "
                f"{_shape(tensor.shape)} and not empty, got {array.dtype} of shape {_shape(array.shape)}; send it so"
            )
    if model.batchable and len({len(array) for array in inputs.values()}) > 1:
        raise InvalidParameter(
            f"all inputs of model {model.name} must have as many rows, got "
            f"{ ({name: len(array) for name, array in inputs.items()}) }; send a row for each"
        )


def _shape(shape: Sequence[int | None]) -> str:
    return str(["any" if size is None else size for size in shape])
