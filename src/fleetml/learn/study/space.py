"""What a study searches: names and Optuna distributions, some of them asked only where another has a certain value."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fleetml.frozen import frozen

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution

    from fleetml.learn.requested_space import Dimension
    from fleetml.learn.search_space import Range

FAMILY = "family"


@frozen
class Only:
    """A distribution that is asked only where `parameter`, which the space names before, has `value`."""

    distribution: BaseDistribution
    parameter: str
    value: Any


Space = Mapping[str, "BaseDistribution | Only"]


def of_ranges(families: Mapping[str, Mapping[str, Range]]) -> Space:
    """Return the space of families: `family`, then ``<family>.<name>`` where it is the one."""
    from optuna.distributions import CategoricalDistribution

    space: dict[str, Any] = {FAMILY: CategoricalDistribution(list(families))}
    for family, ranges in families.items():
        for name, each in ranges.items():
            space[f"{family}.{name}"] = (
                Only(each.distribution(), FAMILY, family) if len(families) > 1 else each.distribution()
            )
    return space


def of_dimensions(requested: Mapping[str, Dimension]) -> Space:
    """Return the space that a caller wrote; a categorical parameter is the place in its `values` (see `values`)."""
    return {name: dimension.distribution() for name, dimension in requested.items()}


def values(requested: Mapping[str, Dimension], params: Mapping[str, Any]) -> dict[str, Any]:
    """Return a trial's parameters with the values of categorical dimensions in place of their numbers."""
    return {name: requested[name].value(param) for name, param in params.items()}


def in_family(params: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return the family and its hyperparameters of a trial in a space `of_ranges`."""
    family = params[FAMILY]
    return family, {
        name.removeprefix(f"{family}."): value for name, value in params.items() if name.startswith(f"{family}.")
    }


def conditional(space: Space) -> bool:
    """Return whether some parameter is asked at times only."""
    return any(isinstance(each, Only) for each in space.values())


def distributions(space: Space) -> dict[str, BaseDistribution]:
    """Return all distributions by name, those asked at times too."""
    return {name: each.distribution if isinstance(each, Only) else each for name, each in space.items()}


def draw(trial: optuna.Trial, space: Space) -> dict[str, Any]:
    """Ask the study's sampler for every parameter that applies, in the order of the space."""
    drawn: dict[str, Any] = {}
    for name, each in space.items():
        if isinstance(each, Only):
            if drawn.get(each.parameter) != each.value:
                continue
            each = each.distribution
        drawn[name] = _suggest(trial, name, each)
    return drawn


def _suggest(trial: optuna.Trial, name: str, each: BaseDistribution) -> Any:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(each, CategoricalDistribution):
        return trial.suggest_categorical(name, each.choices)
    if isinstance(each, IntDistribution):
        return trial.suggest_int(name, each.low, each.high, step=each.step, log=each.log)
    if isinstance(each, FloatDistribution):
        return trial.suggest_float(name, each.low, each.high, step=each.step, log=each.log)
    raise TypeError(f"a space holds Optuna's distributions, got {each!r} of {name!r}")
