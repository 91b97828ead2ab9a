"""From a dataset to what every trial sees: the rows, their heads, the folds, the loss."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from components.automl import validation
from components.automl.losses import LOSSES, Loss
from fleetml.errors import InvalidParameter
from fleetml.learn.algorithms import CLASSIFICATION, OF_OBJECTIVE
from fleetml.learn.tables.encoding import encoded_target
from fleetml.learn.tables.guards import MOST_COLUMNS, enough, guarded
from fleetml.learn.tables.heads import Heads, heads
from fleetml.learn.tables.members import HEAD_OF
from fleetml.learn.tables.model import Description
from fleetml.learn.tables.table import CATEGORICAL, SPLIT, TEST, Feature, Recipe, Table
from fleetml.learn.tables.target import described, learnt
from fleetml.learn.tables.trained import ALL, Folds, Places

FEW_ROWS = 50


@dataclass(frozen=True)
class Problem:
    """`frame` holds the rows learnt from (train and validation); target [N]: class numbers, or standardised values."""

    frame: pl.DataFrame
    recipe: Recipe
    about: Description
    metric: str
    heads: Heads
    target: npt.NDArray[Any]
    validation: validation.Validation
    seed: int
    size_limit_mb: float
    notes: tuple[str, ...] = ()

    @property
    def classifies(self) -> bool:
        return self.about.classifies

    @property
    def classes(self) -> int:
        """The width of what models say; 1 of a regression."""
        return max(1, len(self.about.classes))

    @property
    def loss(self) -> Loss:
        return LOSSES[self.metric]

    def rows(self, algorithm: str, fold: int = ALL, places: Places | None = None) -> npt.NDArray[np.float32]:
        """Return the rows [P, F] at these places (None: all) that an algorithm is given in a fold of the validation, or of all rows."""
        return self.heads.trained[HEAD_OF[algorithm]].of(fold, places)

    def constant(self) -> float:
        """Return the loss of the best constant."""
        if self.classifies:
            shares = np.bincount(self.target, minlength=self.classes) / len(self.target)
            return self.loss(self.target, np.tile(shares, (len(self.target), 1)))
        return self.loss(self.target, np.full((len(self.target), 1), self.target.mean()))

    def figure(self, loss: float) -> float:
        """Return a loss as the metric it is the loss of, in the target's unit."""
        scale = self.about.scale[1]
        known = {"rmse": loss * scale, "mae": loss * scale, "r2": 1 - loss**2, "log_loss": loss}
        return known.get(self.metric, 1 - loss)


def problem(
    given: Table,
    metric: str,
    group: str,
    time: str,
    seconds: float,
    size_limit_mb: float,
    seed: int,
    memory_mb: int = 0,
) -> Problem:
    """Return the problem of a dataset; `memory_mb`: half of it may be encodings, 0: any. Raises InvalidParameter for names it lacks, InvalidData for what cannot be learnt."""
    metric = _metric(given.recipe.objective, metric)
    frame = given.frame.filter(pl.col(SPLIT) != TEST).drop(SPLIT)
    for parameter, name in (("group", group), ("time_column", time)):
        if name and name not in frame.columns:
            raise InvalidParameter(f"{parameter} must be a column, got {name!r}; it has {', '.join(frame.columns)}")
    about = described(given.recipe, "ensemble", {}, frame[given.recipe.target])
    target, classes = learnt(about, frame[given.recipe.target]), len(about.classes)
    columns = tuple(feature for feature in given.recipe.features if feature.name != group)
    enough(frame)
    groups, times = (frame[name] if name else None for name in (group, time))
    how = validation.effort(len(frame), seconds)
    folds = validation.plan(target, about.classifies, groups, times, how, seed)
    folds, few = validation.held_in(memory_mb, folds, _encoded(columns, target, classes))
    learnt_from = [fold.train for fold in folds.folds]
    known = guarded(frame, replace(given.recipe, features=columns), target, classes, learnt_from)
    dealt = Folds(folds.parts, folds.ordered, learnt_from, known.own)
    made = heads(frame, known.recipe, target, dealt, classes=classes)
    about = replace(about, features=known.recipe.features)
    notes = (*known.notes, *filter(None, (few,)))
    return Problem(frame, known.recipe, about, metric, made, target, folds, seed, size_limit_mb, notes)


def _encoded(columns: Sequence[Feature], target: npt.NDArray[Any], classes: int) -> int:
    """Return how many columns of target encodings there are at most."""
    categories = sum(each.type == CATEGORICAL and not each.transformations for each in columns)
    told = encoded_target(target[:1], classes)
    return 0 if told is None else min(categories, MOST_COLUMNS) * told.shape[1]


def _metric(objective: str, name: str) -> str:
    """Return the metric; by itself the log loss, or the root mean squared error. Raises InvalidParameter."""
    known = OF_OBJECTIVE[objective]
    if name and name not in known:
        raise InvalidParameter(f"metric of a {objective} must be one of {', '.join(known)}, got {name!r}; correct it")
    return name or ("log_loss" if objective == CLASSIFICATION else "rmse")
