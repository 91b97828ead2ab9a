"""Heads: what each kind of model is given of raw columns, as ONE graph that ONNX Runtime runs in training and serving alike.

dense   for linear models and networks: no missing value, dates as cycles, one-hot categories, near-normal numbers, products
tree    for boosted trees: missing stays NaN, categories in order and by their target
forest  the same for trees that take no NaN: missing is below all values
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import polars as pl
from onnx import TensorProto

from fleetml.learn.builder import Builder
from fleetml.learn.tables import dates, encoding, interactions, numbers, transformations
from fleetml.learn.tables.table import CATEGORICAL, DATE, NUMERIC, Feature, Recipe
from fleetml.learn.tables.transformations import PREFIX, arrays

Floats = npt.NDArray[np.float32]
DENSE, TREE, FOREST = "dense", "tree", "forest"
ROWS = "rows"  # of `declared`: one head for all
_CHUNK = 8192  # rows per call


@dataclass(frozen=True)
class Heads:
    """A graph from columns to one output float32 [batch, F] for each name in `rows`.

    `rows` are those of the training frame by head, in which each target encoding comes from other folds' rows: give these
    to `fit`, and what `apply` returns for every other frame.
    """

    graph: onnx.ModelProto
    features: tuple[Feature, ...]
    rows: Mapping[str, Floats] = field(repr=False)

    @cached_property
    def _session(self) -> Any:
        from fleetml.learn.forecaster import session

        return session(self.graph.SerializeToString())

    def apply(self, name: str, frame: pl.DataFrame) -> Floats:
        """Return the rows float32 [N, F] that a head makes of a frame. Raises InvalidData."""
        columns = arrays(frame, self.features)
        parts = [
            self._session.run([PREFIX + name], {key: values[at : at + _CHUNK] for key, values in columns.items()})[0]
            for at in range(0, len(frame), _CHUNK)
        ]
        return np.concatenate(parts) if parts else np.empty((0, self.width(name)), np.float32)

    def width(self, name: str) -> int:
        return int(self.rows[name].shape[1])


def declared(frame: pl.DataFrame, features: tuple[Feature, ...]) -> Heads:
    """Return one head, `ROWS`, that does to training rows what the features' transformations say and nothing else."""
    made = Heads(transformations.graph(frame, features), features, {ROWS: np.empty((0, 0), np.float32)})
    return replace(made, rows={ROWS: made.apply(ROWS, frame)})


def heads(
    frame: pl.DataFrame,
    recipe: Recipe,
    target: npt.NDArray[Any],
    folds: npt.NDArray[np.generic],
    *,
    classes: int = 0,
    ordered: bool = False,
) -> Heads:
    """Return the heads learnt from training rows.

    `target` is what `target.learnt` returns (class numbers of `classes` classes, or standardised values), `folds` the fold
    of each row [N]: its target encodings come from the other folds, from earlier ones where `ordered`. Medians, frequencies
    and the like come from all rows given. Features with transformations enter every head by these.
    Raises InvalidData for columns that are missing or hold what their type does not say.
    """
    draft = _Draft(frame, recipe.features)
    parts = [
        *_declared(draft),
        *_numeric(draft),
        *_dates(draft),
        *_categories(draft, encoding.encoded_target(target, classes), folds, ordered),
    ]
    dense = _dense(draft, [part for part in parts if part.dense], target, classes)
    tree, rows = _tree(draft, [part for part in parts if part.tree])
    forest, forest_rows = _forest(draft, tree, rows)
    made = {DENSE: dense, TREE: (tree, rows), FOREST: (forest, forest_rows)}
    for name, (result, _) in made.items():
        draft.made.op("Identity", result, name=name)
    widths = {name: values.shape[1] for name, (_, values) in made.items()}
    graph = pruned(transformations.model(draft.made, recipe.features, widths))
    return Heads(graph, recipe.features, {name: values for name, (_, values) in made.items()})


@dataclass(frozen=True)
class _Part:
    """Columns [batch, W] of the heads it enters; `trained` [N, T] stands in the last columns of training rows.

    `plain` numbers are those of which products are tried.
    """

    name: str
    dense: bool = False
    tree: bool = False
    trained: Floats | None = None
    plain: bool = False


class _Draft:
    """A graph in the making, and what its results are on the training rows."""

    def __init__(self, frame: pl.DataFrame, features: tuple[Feature, ...]) -> None:
        self.features, self.made = features, Builder()
        self.columns = arrays(frame, features)
        self.inputs = {feature.name: f"column_{at}" for at, feature in enumerate(features)}

    def of(self, kind: str) -> list[Feature]:
        """Return the features of a type that are left to us."""
        return [feature for feature in self.features if feature.type == kind and not feature.transformations]

    def joined(self, features: list[Feature]) -> tuple[str, npt.NDArray[Any]]:
        """Return columns beside each other: the result, and the training values [N, D]."""
        values = np.concatenate([self.columns[feature.name] for feature in features], axis=1)
        return self.made.op("Concat", *(self.inputs[feature.name] for feature in features), axis=1), values

    def concat(self, names: list[str]) -> str:
        return names[0] if len(names) == 1 else self.made.op("Concat", *names, axis=1)

    def values(self, names: list[str]) -> list[Floats]:
        """Return results [N, W] on the training rows."""
        from fleetml.learn.forecaster import session

        graph = pruned(transformations.model(self.made, self.features, dict.fromkeys(names)))
        said = session(graph.SerializeToString()).run(None, self.columns)
        return [np.asarray(each, dtype=np.float32) for each in said]


def pruned(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model without the nodes and constants that no output needs; its inputs stay."""
    made = onnx.ModelProto()
    made.CopyFrom(model)
    needed, kept = {info.name for info in model.graph.output}, []
    for node in reversed(model.graph.node):
        if needed.intersection(node.output):
            kept.append(node)
            needed.update(node.input)
    del made.graph.node[:], made.graph.initializer[:]
    made.graph.node.extend(reversed(kept))
    made.graph.initializer.extend(one for one in model.graph.initializer if one.name in needed)
    return made


def _declared(draft: _Draft) -> list[_Part]:
    return [
        _Part(transformations.column(draft.made, one, draft.inputs[one.name], draft.columns[one.name])[0], True, True)
        for one in draft.features
        if one.transformations
    ]


def _numeric(draft: _Draft) -> list[_Part]:
    if not (features := draft.of(NUMERIC)):
        return []
    name, values = draft.joined(features)
    made = numbers.add(draft.made, name, values.astype(np.float32))
    flags = [_Part(made.flags, dense=True)] if made.flags else []
    return [_Part(made.tree, tree=True), _Part(made.dense, dense=True, plain=True), *flags]


def _dates(draft: _Draft) -> list[_Part]:
    if not (features := draft.of(DATE)):
        return []
    made = draft.made
    name, values = draft.joined(features)
    usual = [dates.typical(column) for column in values.T]
    missing, found = dates.calendar(made, name, usual)
    unknown = made.constant([[np.nan]])
    kept = [_Part(made.op("Where", missing, unknown, value), tree=True) for value in found.values()]
    day = made.op(
        "Div", made.op("Sub", found["day"], made.constant([[when / 86_400 for when in usual]])), made.constant([365.25])
    )
    flags = made.op("Cast", missing, to=TensorProto.FLOAT)
    return [
        *kept,
        _Part(day, dense=True, plain=True),
        *(_Part(c, dense=True) for c in [*dates.cycles(made, found), flags]),
    ]


def _categories(draft: _Draft, target: Floats | None, folds: npt.NDArray[np.generic], ordered: bool) -> list[_Part]:
    parts = []
    for feature in draft.of(CATEGORICAL):
        values, made = draft.columns[feature.name], draft.made
        known = encoding.Categories.of(values)
        looked = known.look_up(made, draft.inputs[feature.name])
        parts.append(_Part(encoding.rows_of(made, known.one_hot(), looked), dense=True))
        parts.append(_Part(encoding.rows_of(made, known.order(), looked), tree=True))
        if target is not None and len(known.names) > 2:
            codes, size = known.codes(values), known.unseen + 1
            table = encoding.target_table(codes, size, target)
            trained = encoding.out_of_fold(codes, size, target, folds, ordered)
            many = len(known.names) > encoding.MOST_ONE_HOT
            parts.append(_Part(encoding.rows_of(made, table, looked), dense=many, tree=True, trained=trained))
    return parts


def _trained_rows(draft: _Draft, parts: list[_Part]) -> tuple[str, Floats]:
    """Return parts beside each other: the result, and the training rows with their out-of-fold encodings."""
    values = draft.values([part.name for part in parts])
    rows = [known if part.trained is None else part.trained for part, known in zip(parts, values, strict=True)]
    return draft.concat([part.name for part in parts]), np.concatenate(rows, axis=1)


def _varying(draft: _Draft, name: str, rows: Floats) -> tuple[str, Floats]:
    """Return the columns that are not the same in every training row; the first where all are."""
    same = (rows == rows[:1]) | (np.isnan(rows) & np.isnan(rows[:1]))
    kept = np.flatnonzero(~same.all(axis=0))
    kept = kept if len(kept) else np.zeros(1, np.int64)
    if len(kept) == rows.shape[1]:
        return name, rows
    return draft.made.columns(name, kept), rows[:, kept]


def _tree(draft: _Draft, parts: list[_Part]) -> tuple[str, Floats]:
    return _varying(draft, *_trained_rows(draft, parts))


def _forest(draft: _Draft, tree: str, rows: Floats) -> tuple[str, Floats]:
    """Missing is as far below the least value as the values are apart, and one more."""
    absent = np.isnan(rows)
    least, most = np.where(absent, np.inf, rows).min(axis=0), np.where(absent, -np.inf, rows).max(axis=0)
    known = np.isfinite(least)
    below = np.where(known, 2.0 * np.where(known, least, 0) - np.where(known, most, 0) - 1, -1)
    below = np.maximum(below, -1e38).astype(np.float32)
    filled = draft.made.op("Where", draft.made.op("IsNaN", tree), draft.made.constant([below]), tree)
    return filled, np.where(absent, below, rows)


def _dense(draft: _Draft, parts: list[_Part], target: npt.NDArray[Any], classes: int) -> tuple[str, Floats]:
    """Parts, products of their plain numbers, all scaled."""
    plain = [part.name for part in parts if part.plain]
    if plain:
        found = draft.concat(plain)
        if pairs := interactions.choose(draft.values([found])[0], target, classes):
            parts = [*parts, _Part(interactions.add(draft.made, found, pairs), dense=True)]
    name, rows = _varying(draft, *_trained_rows(draft, parts))
    return numbers.scaled(draft.made, name, rows)
