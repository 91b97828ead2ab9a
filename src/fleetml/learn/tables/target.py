"""What is learnt: class numbers, or standardised values."""

from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from fleetml.errors import InvalidData
from fleetml.learn.algorithms import CLASSIFICATION
from fleetml.learn.tables.model import Description
from fleetml.learn.tables.scores import codes
from fleetml.learn.tables.table import Recipe

_MARGIN = 0.1  # of the training values' width: how far beyond them a regression may answer


def described(recipe: Recipe, algorithm: str, chosen: dict[str, Any], target: pl.Series) -> Description:
    """Return the description of a model of these training values. Raises InvalidData for what cannot be learnt."""
    if recipe.objective == CLASSIFICATION:
        return Description(
            recipe.target, recipe.objective, algorithm, recipe.features, _classes(recipe.target, target), chosen
        )
    values = target.cast(pl.Float64).to_numpy()
    if not np.isfinite(values).all():
        raise InvalidData(f"the target {recipe.target!r} must be known in every row; leave out the others")
    if len(values) == 0 or values.min() == values.max():
        raise InvalidData(
            f"the target {recipe.target!r} must vary, all {len(values)} training rows hold {values[:1]}; "
            "name another column"
        )
    low, high = float(values.min()), float(values.max())
    bounds = (low - _MARGIN * (high - low), high + _MARGIN * (high - low))
    scale = (float(values.mean()), float(values.std()) or 1.0)
    return Description(recipe.target, recipe.objective, algorithm, recipe.features, (), chosen, scale, bounds)


def _classes(name: str, target: pl.Series) -> tuple[Any, ...]:
    classes = tuple(sorted(target.unique().to_list()))
    if len(classes) < 2:
        raise InvalidData(f"the training rows must hold two classes of {name!r}, got {classes}; give more")
    if isinstance(classes[0], float):
        if any(value != int(value) for value in classes):
            raise InvalidData(
                f"classes are whole numbers or texts, column {name!r} holds {target.dtype}; use objective: regression"
            )
        return tuple(int(value) for value in classes)
    return classes


def learnt(about: Description, target: pl.Series) -> npt.NDArray[Any]:
    """Return class numbers int64 [N] (-1: a class the model does not know), or standardised values float32 [N]."""
    if about.classifies:
        return codes(about, target)
    return ((target.cast(pl.Float64).to_numpy() - about.scale[0]) / about.scale[1]).astype(np.float32)
