"""Cross-validation fit for the data: stratified, grouped or ordered in time, repeated where rows are few."""

import itertools
import warnings
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from fleetml.errors import InvalidData, InvalidParameter
from fleetml.learn.tables import table

Places = npt.NDArray[np.int64]
HEADS = 3  # of fleetml.learn.tables.heads, which hold encodings
FEW, SOME, MANY = 1_000, 8_000, 50_000  # rows a minute: below 5 parts twice, 5, 3, above one fifth is held out


@dataclass(frozen=True)
class Effort:
    """Into how many parts rows are dealt, how often, and how many of the folds are learnt."""

    parts: int
    times: int = 1
    folds: int = 0  # 0: all


def effort(rows: int, seconds: float) -> Effort:
    """Return what so many seconds suffice for: more folds judge better and make better bags, fewer leave time for more trials."""
    pace = rows * 60 / max(seconds, 1.0)
    if pace < FEW and rows < FEW:
        return Effort(5, times=2)
    return Effort(5) if pace < SOME else Effort(3) if pace < MANY else Effort(5, folds=1)


@dataclass(frozen=True)
class Fold:
    """Row numbers: those learnt from, and those judged."""

    train: Places
    held: Places


@dataclass(frozen=True)
class Validation:
    """The folds, the same for every trial, and the name of how they were made."""

    kind: str
    folds: tuple[Fold, ...]
    parts: Places  # [N]: the part a row is in, from 0; of what is ordered in time the first part is never held
    ordered: bool = False
    together: Places | None = (
        None  # [N]: the group of a row, or its moment where ordered; None: a row stands for itself
    )

    @property
    def once(self) -> tuple[Fold, ...]:
        """The folds of the first repetition: no row is held twice."""
        return self.folds[: int(self.parts.max())]


def plan(
    target: npt.NDArray[Any],
    classifies: bool,
    groups: pl.Series | None,
    times: pl.Series | None,
    how: Effort,
    seed: int,
) -> Validation:
    """Return the folds of rows [N]; `target` holds class numbers or values.

    A group is on one side of each fold; ordered in time, each fold learns from what was before it. A row of a class that has no
    other row is only learnt from. Raises InvalidData where groups or times are too few, InvalidParameter for both.
    """
    if groups is not None and times is not None:
        raise InvalidParameter("validation is grouped or ordered in time, got group and time_column; give one of them")
    if classifies and times is None:
        how = replace(how, parts=min(how.parts, _largest(target)))
    if times is not None:
        kind, folds = "ordered in time", _ordered(times, how.parts)
    elif groups is not None:
        kind, folds = f"grouped by {groups.name}", _grouped(target, classifies, groups, how.parts, seed)
    else:
        kind, folds = "stratified" if classifies else "random", _random(target, classifies, how.parts, seed)
    parts = np.zeros(len(target), np.int64)
    for number, fold in enumerate(folds):
        parts[fold.held] = number + 1
    if times is None and groups is None and how.times > 1:
        folds += _random(target, classifies, how.parts, seed + 1)
    usable = tuple(fold for fold in folds if _complete(fold, target, classifies))
    if not usable:
        raise InvalidData(
            f"some part of the rows ({kind}) must leave rows of every class to learn from, none of {len(folds)} does; "
            "give more rows of the rare classes, or leave group and time_column out"
        )
    usable = usable[: how.folds] if how.folds else usable
    together = table.moments(times) if times is not None else None if groups is None else table.groups(groups)
    return Validation(f"{kind}, {len(usable)} folds", usable, parts, times is not None, together)


def held_in(memory_mb: int, found: Validation, columns: int) -> tuple[Validation, str]:
    """Return the folds whose own target encodings, `columns` of every row, half of the memory holds, and in words if that is not all.

    Each fold has its own, in each of the heads. One fold is always left: less nothing can be judged by. 0 MB: any.
    """
    each = len(found.parts) * columns * 4 * HEADS
    most = max(1, int(memory_mb * 2**20 / 2 / each)) if memory_mb and each else len(found.folds)
    if most >= len(found.folds):
        return found, ""
    kind = found.kind.rpartition(", ")[0]
    told = f"memory_mb={memory_mb} holds the encodings of {most} folds, not of {len(found.folds)} ({each / 2**20:.0f} MB each); rows are judged by these"
    return replace(found, kind=f"{kind}, {most} folds", folds=found.folds[:most]), told


def _largest(target: npt.NDArray[Any]) -> int:
    """Return how many rows the largest class has: into more parts none can be dealt. Raises InvalidData for one."""
    largest = int(np.bincount(target).max())
    if largest < 2:
        raise InvalidData(
            f"a class must have two rows to be learnt and judged, each of {len(target)} has one; regress the target, or give "
            "more rows"
        )
    return largest


def _complete(fold: Fold, target: npt.NDArray[Any], classifies: bool) -> bool:
    """Say whether every class is learnt in a fold, and some row is judged."""
    return len(fold.held) > 0 and (not classifies or len(np.unique(target[fold.train])) == len(np.unique(target)))


def _random(target: npt.NDArray[Any], classifies: bool, parts: int, seed: int) -> tuple[Fold, ...]:
    from sklearn.model_selection import KFold, StratifiedKFold

    kind = StratifiedKFold if classifies else KFold
    splitter = kind(parts, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of classes with fewer rows than parts
        found = [Fold(train, held) for train, held in splitter.split(np.zeros(len(target)), target)]
    if not classifies:
        return tuple(found)
    single = np.flatnonzero(np.bincount(target)[target] == 1)
    return tuple(Fold(np.union1d(fold.train, single), np.setdiff1d(fold.held, single)) for fold in found)


def _grouped(target: npt.NDArray[Any], classifies: bool, groups: pl.Series, parts: int, seed: int) -> tuple[Fold, ...]:
    from sklearn.model_selection import GroupKFold, StratifiedGroupKFold

    codes = table.groups(groups)
    different = len(np.unique(codes))
    if different < 2:
        raise InvalidData(f"column {groups.name!r} must hold two groups to validate by, got one; leave group out")
    kind = StratifiedGroupKFold if classifies else GroupKFold
    splitter = kind(min(parts, different), shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return tuple(Fold(train, held) for train, held in splitter.split(np.zeros(len(target)), target, codes))


def _ordered(times: pl.Series, parts: int) -> tuple[Fold, ...]:
    """Expanding: the moments in parts of equal number, each part is judged by what was learnt before it."""
    moments = table.moments(times)
    different = int(moments.max()) + 1
    if different <= parts:
        raise InvalidData(
            f"column {times.name!r} must hold more than {parts} moments to validate in their order, got {different}; "
            "leave time out"
        )
    bounds = np.linspace(0, different, parts + 2).astype(np.int64)[1:]
    return tuple(
        Fold(np.flatnonzero(moments < low), np.flatnonzero((moments >= low) & (moments < high)))
        for low, high in itertools.pairwise(bounds)
    )
