"""A dataset as it travels between the stages: one Parquet file with a column for its split and, in its schema, its recipe."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow.parquet as pq

from fleetml.data.schema import aside
from fleetml.errors import InvalidData, InvalidParameter
from fleetml.learn.algorithms import TRANSFORMATIONS

SPLIT = "fleetml_split"
TRAIN, VALIDATION, TEST = "train", "validation", "test"
NUMERIC, CATEGORICAL, DATE = "numeric", "categorical", "date"
_TYPES = {
    **dict.fromkeys(("numeric", "number", "float", "double", "integer", "int", "boolean", "bool"), NUMERIC),
    **dict.fromkeys(("categorical", "category", "string", "text"), CATEGORICAL),
    **dict.fromkeys(("date", "datetime", "timestamp"), DATE),
}
_KEY = b"fleetml.recipe"


@dataclass(frozen=True)
class Feature:
    """A column that a model reads; `type` is numeric, categorical or date, the transformations are applied in order."""

    name: str
    type: str
    transformations: tuple[str, ...] = ()


@dataclass(frozen=True)
class Recipe:
    """What is learnt from which columns, and how these enter the model."""

    target: str
    objective: str
    features: tuple[Feature, ...]

    @classmethod
    def decode(cls, text: str | bytes) -> "Recipe":
        """Return what `encode` wrote. Raises ValueError, KeyError, TypeError."""
        found = json.loads(text)
        features = tuple(Feature(f["name"], f["type"], tuple(f["transformations"])) for f in found["features"])
        return cls(found["target"], found["objective"], features)

    def encode(self) -> str:
        return json.dumps(asdict(self), sort_keys=True)


@dataclass(frozen=True)
class Table:
    """Rows with their split; missing values are null."""

    frame: pl.DataFrame
    recipe: Recipe

    def part(self, split: str) -> pl.DataFrame:
        """Return the rows of a split, without the column that says so."""
        return self.frame.filter(pl.col(SPLIT) == split).drop(SPLIT)

    def held_out(self) -> tuple[str, pl.DataFrame]:
        """Return the split that nothing was chosen by: test where there is one, else validation."""
        name = TEST if (self.frame[SPLIT] == TEST).any() else VALIDATION
        return name, self.part(name)


def read(path: Path) -> Table:
    """Return a dataset. Raises InvalidData for a file that the prepare stage did not write."""
    try:
        recipe = Recipe.decode((pq.read_schema(path).metadata or {})[_KEY])
        return Table(pl.read_parquet(path), recipe)
    except (OSError, ValueError, KeyError, TypeError, pl.exceptions.PolarsError) as error:
        raise InvalidData(
            f"a dataset must be what DATA_PREPROCESSING writes, got {path} ({type(error).__name__}: {error}); "
            "put a task of that type before this one"
        ) from None


def write(table: Table, path: Path) -> None:
    """Write a dataset, aside and renamed; the same rows and recipe are the same bytes."""
    arrow = table.frame.to_arrow().replace_schema_metadata({_KEY: table.recipe.encode()})
    with aside(path) as temporary:
        pq.write_table(arrow, temporary, compression="zstd")


def feature(entry: Any, columns: Sequence[str], place: str) -> Feature:
    """Return one entry of a list of features: a column's name, or a mapping of name, type and transformations.

    An empty type is settled by `infer`. Raises InvalidParameter naming `place`.
    """
    entry = {"name": entry} if isinstance(entry, str) else entry
    if not isinstance(entry, dict) or set(entry) - {"name", "type", "transformations"} or "name" not in entry:
        raise InvalidParameter(f"{place} has name, type and transformations, got {entry!r}; write e.g. {{name: age}}")
    name, kind = entry["name"], entry.get("type") or ""
    if name not in columns:
        raise InvalidParameter(f"{place}.name must be a column of the data, got {name!r}; it has {', '.join(columns)}")
    if kind and str(kind).lower() not in _TYPES:
        raise InvalidParameter(f"{place}.type must be one of {', '.join(_TYPES)}, got {kind!r}; correct it")
    chosen = entry.get("transformations") or []
    chosen = [chosen] if isinstance(chosen, str) else chosen
    if wrong := [each for each in chosen if each not in TRANSFORMATIONS]:
        raise InvalidParameter(
            f"{place}.transformations must be of {', '.join(TRANSFORMATIONS)}, got {wrong[0]!r}; correct it"
        )
    return Feature(name, _TYPES[str(kind).lower()] if kind else "", tuple(chosen))


def groups(column: pl.Series) -> npt.NDArray[np.int64]:
    """Return the group [N] of each row, from 0; rows without one are a group."""
    return _ranks(column.cast(pl.String).fill_null(""))


def moments(column: pl.Series) -> npt.NDArray[np.int64]:
    """Return the moment [N] of each row, in the order of time from 0. Raises InvalidData where the column does not tell it."""
    if not (column.dtype.is_numeric() or column.dtype.is_temporal()):
        raise InvalidData(
            f"column {column.name!r} must hold numbers, dates or times to order rows by, got {column.dtype}; "
            "give it as numbers or as ISO 8601 dates"
        )
    told = column.fill_nan(None) if column.dtype.is_float() else column
    if told.null_count():
        raise InvalidData(
            f"column {column.name!r} must tell the time of every row, {told.null_count()} have none; mend them"
        )
    return _ranks(told)


def _ranks(column: pl.Series) -> npt.NDArray[np.int64]:
    return column.rank("dense").to_numpy().astype(np.int64) - 1


def infer(frame: pl.DataFrame, name: str) -> str:
    """Return the type a column has by itself; "" for one that is no feature (a list, a time of day, nothing at all)."""
    return type_of(frame.schema[name])


def type_of(dtype: pl.DataType) -> str:
    """Return the same of a column's data type: of 100,000 columns, asking the frame for each takes minutes."""
    if dtype.is_numeric() or dtype == pl.Boolean:
        return NUMERIC
    if dtype in (pl.Date, pl.Datetime):
        return DATE
    return CATEGORICAL if dtype in (pl.String, pl.Categorical, pl.Enum) else ""
