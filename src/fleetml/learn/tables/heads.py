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
from fleetml.learn.tables.trained import ALL, Folds, Mask, Trained
from fleetml.learn.tables.transformations import PREFIX, arrays

Floats = npt.NDArray[np.float32]
DENSE, TREE, FOREST = "dense", "tree", "forest"
ROWS = "rows"  # of `declared`: one head for all
_CHUNK = 8192  # rows per call


@dataclass(frozen=True)
class Heads:
    """A graph from columns to one output float32 [batch, F] for each name in `trained`.

    `trained` are the rows of the training frame by head, in which each target encoding comes from other parts' rows: give these
    to `fit`, and what `apply` returns for every other frame. The columns that a model of a fold reads are `Trained.columns`.
    """

    graph: onnx.ModelProto
    features: tuple[Feature, ...]
    trained: Mapping[str, Trained] = field(repr=False)

    @property
    def rows(self) -> Mapping[str, Floats]:
        """The training rows by head, with every column."""
        return {name: each.rows for name, each in self.trained.items()}

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
        return int(self.trained[name].rows.shape[1])


def declared(frame: pl.DataFrame, features: tuple[Feature, ...]) -> Heads:
    """Return one head, `ROWS`, that does to training rows what the features' transformations say and nothing else."""
    made = Heads(transformations.graph(frame, features), features, {ROWS: Trained.plain(np.empty((0, 0), np.float32))})
    return replace(made, trained={ROWS: Trained.plain(made.apply(ROWS, frame))})


def heads(
    frame: pl.DataFrame,
    recipe: Recipe,
    target: npt.NDArray[Any],
    folds: Folds | npt.NDArray[np.generic],
    *,
    classes: int = 0,
) -> Heads:
    """Return the heads learnt from training rows.

    `target` is what `target.learnt` returns (class numbers of `classes` classes, or standardised values). What the target tells
    (encodings, products) is learnt from all rows for the graph, and for each of `folds` (or of parts alone, [N]) from what it may
    learn from, so that a model is judged by rows nothing of which it was given. The graph has the products of all, and
    encodings by all rows: a fold's model reads its own columns there, and means that are the same ones by more rows. Medians,
    frequencies and the like tell no target and come from all rows given. Features with transformations enter every head by these.
    Raises InvalidData for columns that are missing or hold what their type does not say.
    """
    folds = folds if isinstance(folds, Folds) else Folds(folds)
    draft = _Draft(frame, recipe.features, folds)
    parts = [
        *_declared(draft),
        *_numeric(draft),
        *_dates(draft),
        *_categories(draft, encoding.encoded_target(target, classes)),
    ]
    dense = _dense(draft, [part for part in parts if part.dense], target, classes)
    tree = _varying(draft, *_trained(draft, [part for part in parts if part.tree]))
    made = {DENSE: dense, TREE: tree, FOREST: _forest(draft, *tree)}
    for name, (result, _) in made.items():
        draft.made.op("Identity", result, name=name)
    graph = pruned(
        transformations.model(draft.made, recipe.features, {k: t.rows.shape[1] for k, (_, t) in made.items()})
    )
    return Heads(graph, recipe.features, {name: trained for name, (_, trained) in made.items()})


@dataclass(frozen=True)
class _Part:
    """Columns [batch, W] of the heads it enters, made of `sources`: a feature each, or one of all.

    `encodings` K + 1 of [N, W] stand in their place in training rows, of each fold and last of all rows. `plain` numbers are those of
    which products are tried; `given` [K + 1, W]: the columns of each fold, where the sources do not tell.
    """

    name: str
    sources: tuple[str, ...]
    dense: bool = False
    tree: bool = False
    encodings: tuple[Floats, ...] = ()
    plain: bool = False
    given: Mask | None = None


class _Draft:
    """A graph in the making, and what its results are on the training rows."""

    def __init__(self, frame: pl.DataFrame, features: tuple[Feature, ...], folds: Folds) -> None:
        self.features, self.made, self.folds = features, Builder(), folds
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
        _Part(
            transformations.column(draft.made, one, draft.inputs[one.name], draft.columns[one.name])[0],
            (one.name,),
            True,
            True,
        )
        for one in draft.features
        if one.transformations
    ]


def _numeric(draft: _Draft) -> list[_Part]:
    if not (features := draft.of(NUMERIC)):
        return []
    name, values = draft.joined(features)
    made, names = numbers.add(draft.made, name, values.astype(np.float32)), tuple(feature.name for feature in features)
    flags = [_Part(made.flags, tuple(names[at] for at in made.missed), dense=True)] if made.flags else []
    return [_Part(made.tree, names, tree=True), _Part(made.dense, names, dense=True, plain=True), *flags]


def _dates(draft: _Draft) -> list[_Part]:
    if not (features := draft.of(DATE)):
        return []
    made, names = draft.made, tuple(feature.name for feature in features)
    name, values = draft.joined(features)
    usual = [dates.typical(column) for column in values.T]
    missing, found = dates.calendar(made, name, usual)
    unknown = made.constant([[np.nan]])
    kept = [_Part(made.op("Where", missing, unknown, value), names, tree=True) for value in found.values()]
    day = made.op(
        "Div", made.op("Sub", found["day"], made.constant([[when / 86_400 for when in usual]])), made.constant([365.25])
    )
    flags = made.op("Cast", missing, to=TensorProto.FLOAT)
    return [
        *kept,
        _Part(day, names, dense=True, plain=True),
        *(_Part(each, names, dense=True) for each in [*dates.cycles(made, found), flags]),
    ]


def _categories(draft: _Draft, target: Floats | None) -> list[_Part]:
    parts, folds = [], draft.folds
    for feature in draft.of(CATEGORICAL):
        values, made, name = draft.columns[feature.name], draft.made, (feature.name,)
        known = encoding.Categories.of(values)
        looked = known.look_up(made, draft.inputs[feature.name])
        parts.append(_Part(encoding.rows_of(made, known.one_hot(), looked), name, dense=True))
        parts.append(_Part(encoding.rows_of(made, known.order(), looked), name, tree=True))
        if target is not None and len(known.names) > 2:
            codes, size = known.codes(values), known.unseen + 1
            table = encoding.target_table(codes, size, target)
            every = encoding.out_of_fold(codes, size, target, folds.parts, folds.ordered)
            encodings = (*folds.encoded(codes, size, target), every)
            many = len(known.names) > encoding.MOST_ONE_HOT
            parts.append(_Part(encoding.rows_of(made, table, looked), name, many, True, encodings))
    return parts


def _trained(draft: _Draft, parts: list[_Part]) -> tuple[str, Trained]:
    """Return parts beside each other: the result, and the training rows with their encodings."""
    values, folds = draft.values([part.name for part in parts]), draft.folds
    rows = [part.encodings[ALL] if part.encodings else known for part, known in zip(parts, values, strict=True)]
    widths = [each.shape[1] for each in rows]
    given = [
        folds.given(part.sources, width) if part.given is None else part.given
        for part, width in zip(parts, widths, strict=True)
    ]
    at = np.flatnonzero(np.repeat([bool(part.encodings) for part in parts], widths))
    encoded = [part.encodings for part in parts if part.encodings]
    of_folds = tuple(np.concatenate([each[k] for each in encoded], axis=1) for k in range(len(folds.learnt)) if encoded)
    without = np.empty((len(rows[0]), 0), np.float32)
    encodings = of_folds or (without,) * len(folds.learnt)
    name = draft.concat([part.name for part in parts])
    return name, Trained(np.concatenate(rows, axis=1), at, encodings, np.concatenate(given, axis=1))


def _varying(draft: _Draft, name: str, trained: Trained) -> tuple[str, Trained]:
    """Return the columns that are not the same in every training row; the first where all are."""
    rows = trained.rows
    same = (rows == rows[:1]) | (np.isnan(rows) & np.isnan(rows[:1]))
    kept = np.flatnonzero(~same.all(axis=0))
    kept = kept if len(kept) else np.zeros(1, np.int64)
    if len(kept) == rows.shape[1]:
        return name, trained
    return draft.made.columns(name, kept), trained.taken(kept)


def _forest(draft: _Draft, tree: str, trained: Trained) -> tuple[str, Trained]:
    """Missing is as far below the least value as the values are apart, and one more."""
    absent = np.isnan(trained.rows)
    least = np.where(absent, np.inf, trained.rows).min(axis=0)
    most = np.where(absent, -np.inf, trained.rows).max(axis=0)
    known = np.isfinite(least)
    below = np.where(known, 2.0 * np.where(known, least, 0) - np.where(known, most, 0) - 1, -1)
    below = np.maximum(below, -1e38).astype(np.float32)
    filled = draft.made.op("Where", draft.made.op("IsNaN", tree), draft.made.constant([below]), tree)
    return filled, trained.mapped(lambda values, columns: np.where(np.isnan(values), below[columns], values))


def _dense(draft: _Draft, parts: list[_Part], target: npt.NDArray[Any], classes: int) -> tuple[str, Trained]:
    """Parts, products of their plain numbers, all scaled."""
    products = _products(draft, [part for part in parts if part.plain], target, classes)
    name, trained = _varying(draft, *_trained(draft, [*parts, *products]))
    level = numbers.level(trained.rows)
    return numbers.scaled(draft.made, name, *level), trained.mapped(
        lambda values, columns: numbers.scaled_rows(values, *(each[columns] for each in level))
    )


def _products(draft: _Draft, plain: list[_Part], target: npt.NDArray[Any], classes: int) -> list[_Part]:
    """Return the products that some fold, or all rows, would have: each fold is given those that its own rows tell."""
    if not plain:
        return []
    found, folds = draft.concat([part.name for part in plain]), draft.folds
    sources = tuple(name for part in plain for name in part.sources)
    values, given = draft.values([found])[0], folds.given(sources, len(sources))
    chosen = [
        interactions.choose(values[places], target[places], classes, mine)
        for places, mine in zip([*folds.learnt, np.arange(len(target))], given, strict=True)
    ]
    pairs = list(dict.fromkeys(pair for each in reversed(chosen) for pair in each))
    if not pairs:
        return []
    own = np.array([[pair in each for pair in pairs] for each in chosen])
    return [_Part(interactions.add(draft.made, found, pairs), (), dense=True, given=own)]
