"""A tabular model: ONE ONNX graph from raw columns to predictions, its description, and how it is run."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from fleetml.errors import InvalidData
from fleetml.learn.algorithms import CLASSIFICATION
from fleetml.learn.forecaster import session
from fleetml.learn.graph import InvalidGraph
from fleetml.learn.tables.table import Feature
from fleetml.learn.tables.transformations import arrays

KIND = "tabular"
KEY = "fleetml.tabular"
OUTPUTS = ("prediction", "probabilities")
_CHUNK = 8192  # rows per call
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Description:
    """What a graph says about itself. `classes` are texts, whole numbers or truth values; none of a regression.

    `scale` is (mean, deviation) of the target on the training rows: a regression is learnt standardised. `bounds` are the least
    and the most it answers, empty for none.
    """

    target: str
    objective: str
    algorithm: str
    features: tuple[Feature, ...]
    classes: tuple[Any, ...] = ()
    hyperparameters: dict[str, Any] = field(default_factory=dict)
    scale: tuple[float, float] = (0.0, 1.0)
    bounds: tuple[float, float] | tuple[()] = ()

    @property
    def classifies(self) -> bool:
        return self.objective == CLASSIFICATION

    def encode(self) -> str:
        """Return the description as a graph carries it."""
        return json.dumps({**vars(self), "features": [vars(feature) for feature in self.features]}, sort_keys=True)

    @classmethod
    def decode(cls, text: str) -> "Description":
        """Return what `encode` wrote. Raises ValueError, KeyError, TypeError."""
        found = json.loads(text)
        features = tuple(Feature(f["name"], f["type"], tuple(f["transformations"])) for f in found.pop("features"))
        found |= {name: tuple(found.get(name, ())) for name in ("classes", "scale", "bounds")}
        return cls(**found | {"features": features})


@dataclass(frozen=True)
class Predicted:
    """prediction [N] (classes, or numbers); probabilities [N, C], None of a regression."""

    prediction: npt.NDArray[Any]
    probabilities: Floats | None


class TabularModel:
    """A graph, loaded. Raises InvalidGraph for a file that is none of ours."""

    def __init__(self, graph: Path | bytes) -> None:
        if isinstance(graph, Path) and not graph.stat().st_size:  # what the champion's step writes then
            raise InvalidGraph(
                f"the registry has no champion of this model_name ({graph} is empty); "
                "deploy one (MODEL_DEPLOYMENT), or correct model_name"
            )
        self.session = session(graph)
        try:
            text = self.session.get_modelmeta().custom_metadata_map[KEY]
            self.about = Description.decode(text)
        except (KeyError, ValueError, TypeError) as error:
            place = "the graph" if isinstance(graph, bytes) else graph
            raise InvalidGraph(
                f"a tabular model must carry {KEY} metadata, {place} does not ({error!r}); "
                "give the model of a MODEL_TRAINING or HYPERPARAMETER_TUNING task"
            ) from None

    def predict(self, frame: pl.DataFrame) -> Predicted:
        """Return the predictions of rows; columns that are no features are not looked at. Raises InvalidData."""
        columns = arrays(frame, self.about.features)
        if not len(frame):
            raise InvalidData("there must be rows to predict, got none; give a dataset that holds some")
        parts = [
            self.session.run(None, {name: values[at : at + _CHUNK] for name, values in columns.items()})
            for at in range(0, len(frame), _CHUNK)
        ]
        joined = [np.concatenate(part) for part in zip(*parts, strict=True)]
        prediction = joined[0]
        if self.about.classes and isinstance(self.about.classes[0], bool):
            prediction = prediction.astype(bool)
        return Predicted(prediction, joined[1] if self.about.classifies else None)
