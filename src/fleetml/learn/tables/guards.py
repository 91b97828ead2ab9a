"""Which columns a model may be given: what tells nothing is left out, what tells too much is named."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from fleetml.errors import InvalidData
from fleetml.learn.tables import dates, encoding
from fleetml.learn.tables.table import CATEGORICAL, DATE, NUMERIC, Feature, Recipe
from fleetml.learn.tables.transformations import arrays

MOST_COLUMNS = 2000  # an input each: serving would be asked with as many tensors
LEAST_ROWS = 10
_LEAKS = 0.999  # AUC, or correlation, of one column alone …
_APART = 10  # … whose distance to 1 is at most this part of the next column's
_IDS_FROM = 50  # rows, of which a text each makes a column of names
_MIXED = 0.8  # share of texts that are numbers from which a column of texts is told to be mixed
_MOST_ROWS = 5000  # rows columns are compared on
_BLOCK = 500  # columns at once

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Guarded:
    """The recipe of the columns to learn from, and in words what was left out and what is suspected.

    `own`: where columns were chosen, those that each fold, and last all rows, chose; () where all are kept.
    """

    recipe: Recipe
    notes: tuple[str, ...]
    suspects: tuple[str, ...] = ()
    own: tuple[frozenset[str], ...] = ()


def enough(frame: pl.DataFrame) -> None:
    """Raises InvalidData for fewer than 10 rows."""
    if len(frame) < LEAST_ROWS:
        raise InvalidData(f"a model is learnt from at least {LEAST_ROWS} rows, got {len(frame)}; give more")


def guarded(
    frame: pl.DataFrame,
    recipe: Recipe,
    target: npt.NDArray[Any],
    classes: int,
    folds: Sequence[npt.NDArray[np.int64]] = (),
) -> Guarded:
    """Return what may be learnt from training rows; `target` [N] holds numbers of `classes` classes, or values (0 classes).

    Of too many columns each of `folds` (the places of the rows it learns from) chooses by its own rows alone.
    Raises InvalidData for fewer than 10 rows, or where no column is left.
    """
    enough(frame)
    notes, kept = [], []
    useless = _useless(frame, recipe.features)
    for feature, why in zip(recipe.features, useless, strict=True):
        if why:
            notes.append(f"column {feature.name!r} is left out: {why}")
        else:
            kept.append(feature)
            notes += _mixed(frame, feature)
    if not kept:
        raise InvalidData(f"a model needs a column that varies, got none of {len(recipe.features)}; give more columns")
    scores = single_scores(frame, tuple(kept), target, classes)
    suspects = _suspects(kept, scores)
    notes += [
        f"column {name!r} alone tells the target (score {score:.4f} of 1, the next {after:.4f}): it may be known only "
        "afterwards; leave it out if it is"
        for name, score, after in suspects
    ]
    own: tuple[frozenset[str], ...] = ()
    if len(kept) > MOST_COLUMNS:
        notes.append(
            f"{len(kept)} columns are more than the {MOST_COLUMNS} a graph takes: those that tell most are kept"
        )
        every = [single_scores(frame[rows], tuple(kept), target[rows], classes) for rows in folds]
        own = _chosen([feature.name for feature in kept], [*every, scores])
        kept = [feature for feature in kept if any(feature.name in names for names in own)]
    suspected = tuple(name for name, *_ in suspects)
    return Guarded(replace(recipe, features=tuple(kept)), tuple(notes), suspected, own)


def _chosen(names: list[str], scores: list[Floats]) -> tuple[frozenset[str], ...]:
    """Return of each list of scores [F] the best columns, as many as leave at most `MOST_COLUMNS` in all."""
    ranks = np.array([np.argsort(np.argsort(-each, kind="stable"), kind="stable") for each in scores])
    most = int(np.sort(ranks.min(axis=0))[MOST_COLUMNS])
    return tuple(frozenset(names[at] for at in np.flatnonzero(each < most)) for each in ranks)


def _useless(frame: pl.DataFrame, features: tuple[Feature, ...]) -> list[str]:
    """Return of each column why it can tell nothing, "" where it can."""
    found = dict.fromkeys((feature.name for feature in features), "")
    columns = _columns(frame, features)
    numbers = [feature.name for feature in features if feature.type == NUMERIC]
    for at in range(0, len(numbers), _BLOCK):
        names = numbers[at : at + _BLOCK]
        values = _numbers([columns[name] for name in names])
        known = ~np.isnan(values)
        least, most = np.where(known, values, np.inf).min(axis=0), np.where(known, values, -np.inf).max(axis=0)
        none = np.asarray(~known.any(axis=0))
        same = np.asarray(known.all(axis=0) & (least == most))
        for place, name in enumerate(names):
            found[name] = _NONE if none[place] else _SAME if same[place] else ""
    for feature in features:
        if feature.type != NUMERIC:
            found[feature.name] = _why(columns[feature.name], feature.type)
    return list(found.values())


def _columns(frame: pl.DataFrame, features: tuple[Feature, ...]) -> dict[str, pl.Series]:
    """Return the columns by name: asking a frame of 100,000 for one takes as long as for all. Raises InvalidData."""
    found = {column.name: column for column in frame.get_columns()}
    for feature in features:
        if feature.name not in found:
            raise InvalidData(f"the data must hold the feature {feature.name!r}; they have {', '.join(found)}")
    return found


_NONE, _SAME = "no row has a value", "all rows hold the same value"


def _why(column: pl.Series, kind: str) -> str:
    known = column.drop_nulls()
    different = known.n_unique()
    if not different:
        return _NONE
    if different == 1 and len(known) == len(column):
        return _SAME
    if kind == CATEGORICAL and len(column) >= _IDS_FROM and different == len(known) and different > 0.9 * len(column):
        return "each row holds a text of its own"
    return ""


def _numbers(columns: list[pl.Series]) -> Floats:
    """Return columns of numbers [N, D]; NaN where there is none. Raises InvalidData for what is no number."""
    made = np.empty((len(columns[0]), len(columns)))
    for at, column in enumerate(columns):
        try:
            made[:, at] = column.to_numpy()
        except ValueError:
            raise InvalidData(
                f"feature {column.name!r} must hold numbers, got {column.dtype}; mend the data, or take it as categorical"
            ) from None
    return np.where(np.isfinite(made), made, np.nan)


def _mixed(frame: pl.DataFrame, feature: Feature) -> list[str]:
    """Tell of texts among numbers: they come from a typing error or another word for missing."""
    if feature.type != CATEGORICAL or frame.schema[feature.name] != pl.String:
        return []
    known = frame[feature.name].drop_nulls()
    texts = known.filter(known.cast(pl.Float64, strict=False).is_null())
    if not 0 < len(texts) <= (1 - _MIXED) * len(known):
        return []
    return [
        f"column {feature.name!r} mixes types: {len(known) - len(texts)} rows hold numbers, {len(texts)} texts such as "
        f"{texts[0]!r}; it is taken as categories, mend the data to have it taken as a number"
    ]


def _suspects(features: list[Feature], scores: Floats) -> list[tuple[str, float, float]]:
    """Return name, score, and the best score of the columns that are under no suspicion, of each that tells the target."""
    high = np.flatnonzero(scores > _LEAKS)
    rest = scores[scores <= _LEAKS]
    after = float(rest.max()) if len(rest) else 0.5
    return [
        (features[at].name, float(scores[at]), after) for at in high.tolist() if (1 - scores[at]) * _APART <= 1 - after
    ]


def single_scores(frame: pl.DataFrame, features: tuple[Feature, ...], target: npt.NDArray[Any], classes: int) -> Floats:
    """Return how well each column alone tells the target, [F], from 0 or .5 to 1.

    Of classes the best AUC of one class against the others, of a regression the correlation or that of the ranks. A category is
    taken by its target encoding from other rows.
    """
    every = max(1, len(frame) // _MOST_ROWS)
    some, wanted = frame.gather_every(every) if every > 1 else frame, target[::every]
    columns = _columns(some, features)
    found = [
        _scores(_values(columns, features[at : at + _BLOCK], wanted, classes), wanted, classes)
        for at in range(0, len(features), _BLOCK)
    ]
    return np.concatenate(found)


def _values(
    columns: Mapping[str, pl.Series], features: tuple[Feature, ...], target: npt.NDArray[Any], classes: int
) -> Floats:
    """Return columns as numbers [N, F], the median where they are missing."""
    values = np.zeros((len(target), len(features)))
    plain = [at for at, feature in enumerate(features) if feature.type == NUMERIC]
    if plain:
        values[:, plain] = _numbers([columns[features[at].name] for at in plain])
    for at, feature in enumerate(features):
        if feature.type != NUMERIC:
            (column,) = arrays(columns[feature.name].to_frame(), (feature,)).values()
            values[:, at] = _dates(column) if feature.type == DATE else _encoded(column, target, classes)
    values[:, np.isnan(values).all(axis=0)] = 0
    return np.where(np.isnan(values), np.nanmedian(values, axis=0), values)


def _dates(column: npt.NDArray[Any]) -> Floats:
    seconds = column.ravel()
    return np.where(seconds == dates.MISSING, np.nan, seconds.astype(np.float64))


def _encoded(column: npt.NDArray[Any], target: npt.NDArray[Any], classes: int) -> Floats:
    """Return the target encoding of categories [N] from other rows; of many classes the places by frequency."""
    known, wanted = encoding.Categories.of(column), encoding.encoded_target(target, classes)
    codes = known.codes(column)
    if wanted is None:
        return codes.astype(np.float64)
    means = encoding.out_of_fold(codes, known.unseen + 1, wanted, np.arange(len(codes)) % 5)
    return means[:, int(np.argmax(wanted.var(axis=0)))].astype(np.float64)


def _scores(values: Floats, target: npt.NDArray[Any], classes: int) -> Floats:
    from scipy.stats import rankdata

    ranks = rankdata(values, axis=0)
    if not classes:
        return np.maximum(_correlation(values, target), _correlation(ranks, rankdata(target)))
    best = np.full(values.shape[1], 0.5)
    for one in range(classes):
        mine = target == one
        count, others = int(mine.sum()), int((~mine).sum())
        if count and others:  # Mann and Whitney's statistic is the area under the curve
            area = (ranks[mine].sum(axis=0) - count * (count + 1) / 2) / (count * others)
            best = np.maximum(best, np.maximum(area, 1 - area))
    return best


def _correlation(values: Floats, target: npt.NDArray[Any]) -> Floats:
    centred, wanted = values - values.mean(axis=0), target - target.mean()
    width = np.sqrt((centred**2).sum(axis=0) * (wanted**2).sum())
    return np.abs(wanted @ centred) / np.where(width > 0, width, 1.0)
