"""The proof that a graph says what its Python model does, on real rows and on made ones."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx
import polars as pl

from fleetml.learn.graph import InvalidGraph
from fleetml.learn.tables import dates
from fleetml.learn.tables.model import Predicted, TabularModel
from fleetml.learn.tables.table import CATEGORICAL, DATE, Feature
from fleetml.learn.tables.transformations import arrays

MOST_MEAN = 1e-4  # difference on average: probabilities, or values in deviations of the target
MOST_ONE = 1e-3  # difference of one row …
MOST_BEYOND = 1e-3  # … that at most this share of rows exceeds: a tree may flip on the last bit
LEAST_AGREED = 0.999  # share of rows of the same class, where two are not as likely as each other
MADE_ROWS = 200
_UNSEEN = "\u2047 a category no training row holds"
_EXTREME = {"low": -2_208_988_800, "high": 7_258_118_400}  # the years 1900 and 2200, in seconds


@dataclass(frozen=True)
class Equality:
    """How far a graph is from its Python model on `rows` rows."""

    rows: int
    mean: float
    beyond: float
    agreed: float

    @property
    def fault(self) -> str:
        """Return what is wrong, "" where the graph is proven."""
        if not self.mean <= MOST_MEAN:
            return f"mean difference {self.mean:.3g}, at most {MOST_MEAN:g} is allowed"
        if self.beyond > MOST_BEYOND:
            return f"{self.beyond:.2%} of rows differ by more than {MOST_ONE:g}, at most {MOST_BEYOND:.1%} may"
        if self.agreed < LEAST_AGREED:
            return f"{self.agreed:.2%} of rows have the same class, at least {LEAST_AGREED:.1%} must"
        return ""


def prove(graph: onnx.ModelProto, python: Callable[[pl.DataFrame], Predicted], frame: pl.DataFrame) -> Equality:
    """Return how far the graph is from `python` on a frame and on rows made of it. Raises InvalidGraph beyond the bounds."""
    model = TabularModel(graph.SerializeToString())
    asked = pl.concat([_bare(frame, model.about.features), made_rows(frame, model.about.features)])
    found = compared(model.predict(asked), python(asked), model.about.scale[1])
    if found.fault:
        raise InvalidGraph(
            f"a graph must predict what its Python model does, that of {model.about.algorithm} does not on {found.rows} "
            f"rows: {found.fault}; leave this model out, its conversion changed it"
        )
    return found


def compared(graph: Predicted, python: Predicted, deviation: float) -> Equality:
    """Return how far two predictions of the same rows are apart; values in units of `deviation`."""
    if graph.probabilities is not None and python.probabilities is not None:
        apart = np.abs(graph.probabilities.astype(np.float64) - python.probabilities).max(axis=1)
        theirs = np.take_along_axis(graph.probabilities, python.probabilities.argmax(axis=1)[:, None], axis=1)[:, 0]
        agreed = float((theirs >= graph.probabilities.max(axis=1) - MOST_ONE).mean())
    else:
        values = python.prediction.astype(np.float64)
        apart = np.abs(graph.prediction.astype(np.float64) - values) / np.maximum(deviation, np.abs(values))
        agreed = 1.0
    apart = np.where(np.isfinite(apart), apart, np.inf)
    return Equality(len(apart), float(apart.mean()), float((apart > MOST_ONE).mean()), agreed)


def _bare(frame: pl.DataFrame, features: tuple[Feature, ...]) -> pl.DataFrame:
    """Return the features as a graph takes them."""
    return pl.DataFrame(
        {name: values.ravel().tolist() for name, values in arrays(frame, features).items()}, _schema(features)
    )


def _schema(features: tuple[Feature, ...]) -> dict[str, pl.DataType]:
    kinds = {CATEGORICAL: pl.String(), DATE: pl.Int64()}
    return {feature.name: kinds.get(feature.type, pl.Float32()) for feature in features}


def made_rows(frame: pl.DataFrame, features: tuple[Feature, ...], count: int = MADE_ROWS) -> pl.DataFrame:
    """Return rows of the frame in which some columns are missing, unseen, empty, far above or far below all values.

    Each column takes every turn; where there are many, several take it in one row. The last rows have all at once.
    """
    columns = arrays(frame, features)
    places = np.linspace(0, len(frame) - 1, count).astype(np.int64)
    made = {name: values.ravel()[places].copy() for name, values in columns.items()}
    groups = max(1, min(len(features), (count - len(_TURNS)) // len(_TURNS)))
    for at, feature in enumerate(features):
        own = columns[feature.name].ravel()
        for turn, kind in enumerate(_TURNS):
            value = _value(feature, own, kind)
            made[feature.name][(at % groups) * len(_TURNS) + turn] = value
            made[feature.name][count - 1 - turn] = value
    return pl.DataFrame({name: values.tolist() for name, values in made.items()}, _schema(features))


_TURNS = ("missing", "unseen", "low", "high")


def _value(feature: Feature, own: npt.NDArray[np.generic], kind: str) -> str | float | int:
    if feature.type == CATEGORICAL:
        return _UNSEEN if kind in ("unseen", "high") else ""
    if feature.type == DATE:
        return _EXTREME.get(kind, dates.MISSING)
    known = np.abs(own[np.isfinite(own.astype(np.float64))].astype(np.float64))
    most = 10 * float(known.max(initial=1.0))
    return {"low": -most, "high": most, "unseen": most / 3}.get(kind, float("nan"))
