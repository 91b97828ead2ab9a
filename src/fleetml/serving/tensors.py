"""The kind any: a graph that says nothing of itself. It answers raw tensors only (Open Inference Protocol)."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from fleetml.serving.backends import Arrays, Session


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
