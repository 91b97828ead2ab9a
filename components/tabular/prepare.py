"""DATA_PREPROCESSING: from CSV or Parquet to a checked dataset with target and splits."""

import logging
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from components.tabular import source
from fleetml.component import Artifact
from fleetml.errors import InvalidData, InvalidParameter
from fleetml.learn.algorithms import CLASSIFICATION, OBJECTIVES, REGRESSION
from fleetml.learn.tables import table
from fleetml.learn.tables.table import CATEGORICAL, NUMERIC, SPLIT, TEST, TRAIN, VALIDATION, Feature, Recipe, Table

TARGETS = ("target", "label")
MOST_CLASSES = 20  # different whole numbers that are still taken for classes
LEAST_ROWS = 10
_DTYPES: dict[str, tuple[str, Any]] = {
    **dict.fromkeys(("float", "double", "number", "numeric"), ("a number", pl.Float64)),
    **dict.fromkeys(("int", "integer", "int64", "long"), ("a whole number", pl.Int64)),
    **dict.fromkeys(("string", "text", "categorical", "category"), ("a text", pl.String)),
    **dict.fromkeys(("bool", "boolean"), ("true or false", pl.Boolean)),
    **dict.fromkeys(("datetime", "timestamp", "date"), ("a time", pl.Datetime)),
}

Floats = npt.NDArray[np.float64]
log = logging.getLogger(__name__)


def prepare(
    dataset_path: str,
    dataset: Artifact,
    metrics: Artifact,
    format: str = "",
    target: str = "",
    objective: str = "",
    schema: dict[str, str] | None = None,
    validation_split: float = 0.2,
    test_split: float = 0.1,
    group: str = "",
    time_column: str = "",
    seed: int = 0,
) -> None:
    """Write the dataset: rows with a target, each in train, validation or test.

    The rows of a `group` are in one part; ordered by a `time_column` the latest are the test rows, those before them validation.

    Without a `target` it is the column named target or label, or the last column. Without an `objective` a text, a
    truth value, or a whole number of at most 20 different values is classified, anything else is regressed.
    Raises InvalidParameter, InvalidData.
    """
    if validation_split <= 0 or test_split < 0 or validation_split + test_split >= 1:
        raise InvalidParameter(
            f"validation_split must be above 0, test_split not below, and both together below 1, got "
            f"{validation_split} and {test_split}; correct them"
        )
    frame = conform(source.read(dataset_path, format), schema or {}, dataset_path)
    name = target_of(frame, target, dataset_path)
    rows = len(frame)
    frame = frame.filter(frame[name].is_not_null() & _finite(frame[name]))
    _check_rows(frame)
    kind = objective_of(frame[name], objective)
    if keys := _keys(frame, group, time_column):
        made = split_whole(frame, *keys, validation_split, test_split, seed)
    else:
        made = split(frame, frame[name] if kind == CLASSIFICATION else None, validation_split, test_split, seed)
    recipe = Recipe(name, kind, _features(frame, name))
    table.write(Table(made, recipe), dataset.path)
    counts = {part: int((made[SPLIT] == part).sum()) for part in (TRAIN, VALIDATION, TEST)}
    metrics.log(rows=len(made), target=name, objective=kind, without_target=rows - len(made), **counts)
    dataset.metadata.update(target=name, objective=kind, rows=len(made), source=dataset_path)


def conform(frame: pl.DataFrame, schema: dict[str, str], place: str) -> pl.DataFrame:
    """Return the columns the schema names, in its types; all columns where there is no schema."""
    if SPLIT in frame.columns:
        frame = frame.drop(SPLIT)
    for name, kind in schema.items():
        if name not in frame.columns:
            raise InvalidData(f"dataset {place}: the schema's column {name!r} is missing; it has {frame.columns}")
        if str(kind).lower() not in _DTYPES:
            raise InvalidParameter(f"schema.{name} must be one of {', '.join(_DTYPES)}, got {kind!r}; correct it")
        what, dtype = _DTYPES[str(kind).lower()]
        cast = frame[name].cast(dtype, strict=False)
        if (wrong := cast.is_null() & frame[name].is_not_null()).any():
            row = int(wrong.arg_max() or 0)
            raise InvalidData(
                f"dataset {place}: column {name!r} must hold {what} ({kind}), row {row + 1} holds {frame[name][row]!r}; "
                "correct the data or the schema"
            )
        frame = frame.with_columns(cast.alias(name))
    return frame.select(list(schema)) if schema else frame


def target_of(frame: pl.DataFrame, target: str, place: str) -> str:
    """Return the target's column. Raises InvalidData where it is missing or cannot be learnt."""
    names = {name.lower(): name for name in reversed(frame.columns)}
    found = target or next((names[known] for known in TARGETS if known in names), frame.columns[-1])
    if found not in frame.columns:
        raise InvalidData(f"dataset {place}: the target {found!r} is no column; it has {', '.join(frame.columns)}")
    if table.infer(frame, found) not in (NUMERIC, CATEGORICAL):
        raise InvalidData(
            f"dataset {place}: the target {found!r} must be a number, a text or a truth value, got "
            f"{frame.schema[found]}; name another column: target: NAME"
        )
    if not target:
        log.info("target: column %r (%s)", found, "by its name" if found.lower() in TARGETS else "the last column")
    return found


def objective_of(target: pl.Series, objective: str) -> str:
    """Return classification or regression. Raises InvalidParameter, InvalidData."""
    if objective and objective.lower() not in OBJECTIVES:
        raise InvalidParameter(f"objective must be one of {', '.join(OBJECTIVES)}, got {objective!r}; correct it")
    different = target.n_unique()
    if different < 2:
        raise InvalidData(
            f"the target {target.name!r} must vary, got {different} different values; name another column"
        )
    if objective:
        kind = OBJECTIVES[objective.lower()]
        if kind == REGRESSION and not target.dtype.is_numeric():
            raise InvalidData(f"regression needs numbers, target {target.name!r} holds {target.dtype}; classify it")
        return kind
    whole = target.dtype.is_integer() or (
        target.dtype.is_float() and bool((target == target.round()).all()) and different <= 2
    )
    is_class = not target.dtype.is_numeric() or (whole and different <= MOST_CLASSES)
    return CLASSIFICATION if is_class else REGRESSION


def split(frame: pl.DataFrame, classes: pl.Series | None, validation: float, test: float, seed: int) -> pl.DataFrame:
    """Return the frame with its split, drawn at random from `seed`; each class has its share in each part."""
    order = np.random.default_rng(seed).permutation(len(frame))
    if classes is not None:  # classes beside each other in a random order: every stretch of places is a fair share
        codes = np.unique(classes.cast(pl.String).to_list(), return_inverse=True)[1]
        order = order[np.argsort(codes[order], kind="stable")]
    # A place's part follows from the fractional part of its multiples of the share: evenly over the order.
    places = (np.arange(len(frame)) * 0.6180339887498949) % 1
    ranks = np.empty(len(frame))
    ranks[order] = np.argsort(np.argsort(places)) / len(frame)
    return _parted(frame, ranks, validation, test)


def split_whole(
    frame: pl.DataFrame, column: pl.Series, ordered: bool, validation: float, test: float, seed: int
) -> pl.DataFrame:
    """Return the frame with its split: rows of one value of `column` in one part, the latest moments as test where `ordered`.

    Raises InvalidData where the values are too few for each part that was asked for.
    """
    places = table.moments(column) if ordered else table.groups(column)
    if not ordered:
        places = np.random.default_rng(seed).permutation(int(places.max()) + 1)[places]
    after = (len(frame) - np.cumsum(np.bincount(places))[places]) / len(frame)  # the share of rows in later places
    made = _parted(frame, after, validation, test)
    if missing := {TRAIN, *([TEST] if test else [])} - set(made[SPLIT]):
        raise InvalidData(
            f"column {column.name!r} must hold enough different values to split by, got {column.n_unique()}: no {missing.pop()} "
            "rows are left; choose other shares, or leave it out"
        )
    return made


def _keys(frame: pl.DataFrame, group: str, time: str) -> tuple[pl.Series, bool] | None:
    """Return the column that is split by, and whether it is one of time. Raises InvalidParameter."""
    if group and time:
        raise InvalidParameter("rows are split by group or in time, got group and time_column; give one of them")
    for parameter, name in (("group", group), ("time_column", time)):
        if name and name not in frame.columns:
            raise InvalidParameter(f"{parameter} must be a column, got {name!r}; it has {', '.join(frame.columns)}")
    return (frame[group or time], bool(time)) if group or time else None


def _check_rows(frame: pl.DataFrame) -> None:
    if len(frame) < LEAST_ROWS:
        raise InvalidData(f"a dataset must hold at least {LEAST_ROWS} rows with a target, got {len(frame)}; give more")


def _parted(frame: pl.DataFrame, ranks: Floats, validation: float, test: float) -> pl.DataFrame:
    parts = np.where(ranks < test, TEST, np.where(ranks < test + validation, VALIDATION, TRAIN))
    return frame.with_columns(pl.Series(SPLIT, parts.tolist(), pl.String))


def _features(frame: pl.DataFrame, target: str) -> tuple[Feature, ...]:
    found = []
    for column in frame.get_columns():
        if column.name == target:
            continue
        kind = table.type_of(column.dtype)
        if kind and column.n_unique() > 1:
            found.append(Feature(column.name, kind))
        else:
            log.info("column %r is no feature: %s", column.name, "it does not vary" if kind else f"type {column.dtype}")
    if not found:
        raise InvalidData("a dataset must hold a column beside the target that varies, got none; give more columns")
    return tuple(found)


def _finite(values: pl.Series) -> pl.Series | bool:
    return values.is_finite() if values.dtype.is_float() else pl.Series(np.ones(len(values), bool))
