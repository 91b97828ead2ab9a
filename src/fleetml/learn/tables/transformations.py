"""Features as the head of a model's graph: learnt from training rows, run by ONNX Runtime in training and serving alike."""

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt
import onnx
import polars as pl
from onnx import TensorProto, helper

from fleetml.errors import InvalidData
from fleetml.learn.builder import IR_VERSION, OPSET, Builder
from fleetml.learn.tables import dates
from fleetml.learn.tables.table import CATEGORICAL, DATE, NUMERIC, Feature

Floats = npt.NDArray[np.float32]
Columns = Mapping[str, npt.NDArray[np.generic]]
ML_OPSET = 3
PREFIX = "features/"
ROWS = f"{PREFIX}rows"
MOST_CATEGORIES = 64  # the most frequent ones; all others are "none of them"
_ML = "ai.onnx.ml"
_LEAST = 1e-6


def graph(frame: pl.DataFrame, features: tuple[Feature, ...]) -> onnx.ModelProto:
    """Return the graph columns → rows [batch, F]: missing numbers are the median's, then the transformations.

    One input a feature: float32 [batch, 1] of a number (NaN: missing), string [batch, 1] of a category ("": missing),
    int64 [batch, 1] of a date (UTC seconds; `dates.MISSING`).
    Raises InvalidData for values that a transformation cannot take.
    """
    made = Builder()
    columns = arrays(frame, features)
    parts, widths = [], []
    for at, feature in enumerate(features):
        name, width = column(made, feature, f"column_{at}", columns[feature.name])
        parts.append(name)
        widths.append(width)
    made.op("Concat", *parts, axis=1, name="rows")
    return model(made, features, {"rows": sum(widths)})


def column(made: Builder, feature: Feature, name: str, values: npt.NDArray[np.generic]) -> tuple[str, int]:
    """Add what a feature's transformations make of its input `name`; return the result [batch, W] and W."""
    return _TYPES[feature.type](made, feature, name, values)


def model(made: Builder, features: tuple[Feature, ...], outputs: Mapping[str, int | None]) -> onnx.ModelProto:
    """Return the nodes so far as a graph; its inputs are `column_0` … renamed to the features, outputs name -> width."""
    inputs = [
        helper.make_tensor_value_info(f"column_{at}", _KINDS[feature.type], ["batch", 1])
        for at, feature in enumerate(features)
    ]
    infos = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", width]) for name, width in outputs.items()
    ]
    body = helper.make_graph(made.nodes, "features", inputs, infos, initializer=list(made.constants.values()))
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(_ML, ML_OPSET)]
    return _named(
        helper.make_model(body, opset_imports=opsets, ir_version=IR_VERSION, producer_name="fleetml"), features
    )


_KINDS = {NUMERIC: TensorProto.FLOAT, CATEGORICAL: TensorProto.STRING, DATE: TensorProto.INT64}


def _named(model: onnx.ModelProto, features: tuple[Feature, ...]) -> onnx.ModelProto:
    """Return the graph with its inputs named after the columns, which may have the names of anything inside it."""
    model = onnx.compose.add_prefix(model, PREFIX)
    names = {f"{PREFIX}column_{at}": feature.name for at, feature in enumerate(features)}
    for info in model.graph.input:
        info.name = names[info.name]
    for node in model.graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
    return model


def arrays(frame: pl.DataFrame, features: tuple[Feature, ...]) -> dict[str, npt.NDArray[np.generic]]:
    """Return columns as a graph takes them, each [N, 1]. Raises InvalidData for a column that is missing or no number."""
    found: dict[str, npt.NDArray[np.generic]] = {}
    there = set(frame.columns)
    for feature in features:
        if feature.name not in there:
            raise InvalidData(f"the data must hold the feature {feature.name!r}; they have {', '.join(frame.columns)}")
        column = frame[feature.name]
        if feature.type == CATEGORICAL:
            values = np.array(column.cast(pl.String).fill_null("").to_list(), dtype=object)
        elif feature.type == DATE:
            values = dates.seconds(column).to_numpy()
        else:
            try:
                values = column.cast(pl.Float32).fill_null(np.nan).to_numpy()
            except pl.exceptions.PolarsError as error:
                raise InvalidData(f"feature {feature.name!r} must hold numbers: {error}; mend the data") from None
        found[feature.name] = values.reshape(-1, 1)
    return found


def _categorical(made: Builder, feature: Feature, column: str, values: npt.NDArray[np.generic]) -> tuple[str, int]:
    names, counts = np.unique(values[values != ""].astype(str), return_counts=True)
    kept = sorted(str(name) for name in names[np.argsort(-counts, kind="stable")][:MOST_CATEGORIES]) or [""]
    if feature.transformations[-1:] == ("ordinal",):
        places = [float(place) for place in range(len(kept))]
        coded = made.op("LabelEncoder", column, domain=_ML, keys_strings=kept, values_floats=places, default_float=-1.0)
        return coded, 1
    coded = made.op("OneHotEncoder", column, domain=_ML, cats_strings=kept, zeros=1)
    return made.op("Reshape", coded, made.integers(-1, len(kept))), len(kept)


def _numeric(made: Builder, feature: Feature, column: str, values: npt.NDArray[np.generic]) -> tuple[str, int]:
    now = values.astype(np.float32).ravel()
    known = now[np.isfinite(now)]
    median = np.float32(np.median(known)) if len(known) else np.float32(0)
    missing = made.op("Or", made.op("IsNaN", column), made.op("IsInf", column))
    name = made.op("Where", missing, made.constant([[median]]), column)
    now = np.where(np.isfinite(now), now, median)
    for kind in feature.transformations:
        if kind in _SETS:
            return _coded(made, name, now, kind)
        name, now = _NUMERIC[kind](made, feature.name, name, now)
    return name, 1


def _date(made: Builder, feature: Feature, column: str, values: npt.NDArray[np.generic]) -> tuple[str, int]:
    """What the calendar says, and whether the date is missing."""
    missing, found = dates.calendar(made, column, [dates.typical(values)])
    flag = made.op("Cast", missing, to=TensorProto.FLOAT)
    return made.op("Concat", *found.values(), flag, axis=1), len(found) + 1


def _shifted(made: Builder, name: str, now: Floats, centre: float, width: float) -> tuple[str, Floats]:
    width = width if width > _LEAST else 1.0
    centred = made.op("Sub", name, made.constant([[centre]]))
    return made.op("Div", centred, made.constant([[width]])), ((now - centre) / width).astype(np.float32)


def _standard_scale(made: Builder, feature: str, name: str, now: Floats) -> tuple[str, Floats]:
    return _shifted(made, name, now, float(now.mean(dtype=np.float64)), float(now.std(dtype=np.float64)))


def _min_max(made: Builder, feature: str, name: str, now: Floats) -> tuple[str, Floats]:
    return _shifted(made, name, now, float(now.min()), float(now.max() - now.min()))


def _robust_scale(made: Builder, feature: str, name: str, now: Floats) -> tuple[str, Floats]:
    low, middle, high = np.quantile(now, (0.25, 0.5, 0.75))
    return _shifted(made, name, now, float(middle), float(high - low))


def _log(made: Builder, feature: str, name: str, now: Floats) -> tuple[str, Floats]:
    """log(1 + x); what serving sees at or below -1 is taken as just above it."""
    if now.min() <= -1:
        raise InvalidData(
            f"log is log(1 + x) and takes values above -1, feature {feature!r} holds {now.min()}; use robust_scale"
        )
    above = made.op("Max", made.op("Add", name, made.constant([[1.0]])), made.constant([[_LEAST]]))
    return made.op("Log", above), np.log(np.maximum(now + 1, _LEAST)).astype(np.float32)


_NUMERIC: Mapping[str, Callable[[Builder, str, str, Floats], tuple[str, Floats]]] = {
    "standard_scale": _standard_scale,
    "min_max": _min_max,
    "robust_scale": _robust_scale,
    "log": _log,
}
_SETS = ("one_hot", "ordinal")


def _coded(made: Builder, name: str, now: Floats, kind: str) -> tuple[str, int]:
    """Numbers that are codes: rounded to whole ones. The end of a feature's transformations."""
    whole, counts = np.unique(np.round(now).astype(np.int64), return_counts=True)
    kept = sorted(int(code) for code in whole[np.argsort(-counts, kind="stable")][:MOST_CATEGORIES])
    codes = made.op("Cast", made.op("Round", name), to=TensorProto.INT64)
    hot = made.op("OneHotEncoder", codes, domain=_ML, cats_int64s=kept, zeros=1)
    flat = made.op("Reshape", hot, made.integers(-1, len(kept)))
    if kind == "one_hot":
        return flat, len(kept)
    # The place of the one in a row, from 0; -1 where there is none.
    places = made.op("MatMul", flat, made.constant(np.arange(1, len(kept) + 1).reshape(-1, 1)))
    return made.op("Sub", places, made.constant([[1.0]])), 1


_TYPES: Mapping[str, Callable[[Builder, Feature, str, npt.NDArray[np.generic]], tuple[str, int]]] = {
    NUMERIC: _numeric,
    CATEGORICAL: _categorical,
    DATE: _date,
}
