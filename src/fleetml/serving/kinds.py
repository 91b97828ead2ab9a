"""Kinds of models: each is one module that turns a question into arrays, and arrays into an answer.

A graph's ``metadata_props["fleetml.kind"]`` names its kind. A kind knows neither gRPC nor HTTP, and neither versions nor
batches: `Question.inputs` and `Question.answer` are all that `fleetml.serving.inference` asks of it for a request.
"""

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from fleetml.learn.graph import InvalidGraph
from fleetml.serving.backends import Arrays, Session

if TYPE_CHECKING:
    from fleetml.serving.model import Model

METADATA = "fleetml.kind"
MODULES = {
    "forecaster": "fleetml.serving.forecast",
    "placement": "fleetml.serving.placement",
    "anomaly": "fleetml.serving.anomaly",
    "window_anomaly": "fleetml.serving.tensors",
    "any": "fleetml.serving.tensors",
}
"""Kind → its module, whose ``KIND`` is a `Kind`."""

A_co = TypeVar("A_co", bound="Answer", covariant=True)


class Kind(Protocol):
    """What is known of all models of a kind. `about` is what `open` returned (`Model.about`)."""

    def open(self, name: str, session: Session) -> Any:
        """Check and try a graph that is to serve as the model `name`; return what its questions need to know of it.

        Raises InvalidGraph.
        """
        ...

    def covariates(self, about: Any) -> Sequence[str]:
        """Return the feature references that questions look up in the online feature store."""
        ...

    def columns(self, about: Any) -> Sequence[str]:
        """Return the feature columns of the prediction log."""
        ...

    def features(self, about: Any, inputs: Sequence[Arrays]) -> npt.NDArray[np.float64]:
        """Return the values of `columns` for N questions' inputs, [N, columns]; called by the log's thread."""
        ...

    def told(self, about: Any, outputs: Arrays) -> "Answer | None":
        """Return what the prediction log is told of a graph's raw outputs; None: they are not one question's, or mean nothing."""
        ...


@dataclass(frozen=True, slots=True)
class Told:
    """An `Answer` as the prediction log needs it."""

    predictions: npt.NDArray[Any]
    step_seconds: int


class Answer(Protocol):
    """`predictions` and `step_seconds` (0: no series) are what the prediction log holds."""

    @property
    def predictions(self) -> npt.NDArray[Any]: ...

    @property
    def step_seconds(self) -> int: ...


class Question(Protocol[A_co]):
    """One question to a model of `kind`. `key` is whom it is about, a VM or workload: rollouts are sticky by it."""

    @property
    def kind(self) -> str: ...

    @property
    def key(self) -> str: ...

    @property
    def as_of(self) -> datetime | None: ...

    def wanted(self, model: "Model") -> Sequence[str]:
        """Return the feature references to look up by `key` before `inputs` is called; () for none."""
        ...

    def inputs(self, model: "Model", found: Mapping[str, float]) -> Arrays:
        """Return the graph's inputs, rows along the first axis. Raises InvalidParameter."""
        ...

    def answer(self, model: "Model", outputs: Arrays) -> A_co:
        """Return what this question's rows of the graph's outputs mean. Raises FleetMLError when they mean nothing."""
        ...


def of(session: Session) -> tuple[str, Kind]:
    """Return the kind of a graph and its name: as it says itself, else forecaster where it carries a forecaster's metadata.

    Raises InvalidGraph for a kind this server does not know.
    """
    name = session.metadata.get(METADATA) or ("forecaster" if "fleetml.context" in session.metadata else "any")
    if name not in MODULES:
        raise InvalidGraph(
            f"{METADATA} of a graph must be one of {', '.join(MODULES)}, got {name!r}; export it for this server"
        )
    kind: Kind = importlib.import_module(MODULES[name]).KIND
    return name, kind
