"""Families of spaces as one space without conditions: what Gaussian processes, and a policy over all choices, can search.

A hyperparameter that all families know, each within the same bounds, is itself. Any other is a place from 0 to 1 in the range of the
family that is chosen; where that family lacks it, it means nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fleetml.learn.search_space import Hyperparameters, Range, Space, defaults

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

FAMILY = "family"
# One place for what is alike: how many steps a convolution, or a patch, spans.
_ALIKE = {"kernel": "kernel_or_patch", "patch": "kernel_or_patch"}
_MIDDLE = 0.5


def flat(families: Mapping[str, Space]) -> dict[str, BaseDistribution]:
    """Return the flat space of families: ``family``, then every hyperparameter once."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    space: dict[str, BaseDistribution] = {FAMILY: CategoricalDistribution(list(families))}
    for name in (_name(name) for ranges in families.values() for name in ranges):
        same = _same(name, families)
        space[name] = same.distribution() if same else FloatDistribution(0.0, 1.0)
    return space


def point(params: Mapping[str, Any], families: Mapping[str, Space]) -> tuple[str, Hyperparameters]:
    """Return the family and the hyperparameters that a point of the flat space means."""
    from fleetml.learn.study.positions import value_at

    family = params[FAMILY]
    return family, {
        name: params[_name(name)]
        if _same(_name(name), families)
        else value_at(each.distribution(), params[_name(name)])
        for name, each in families[family].items()
    }


def starts(families: Mapping[str, Space]) -> list[dict[str, Any]]:
    """Return the default point of each family, in the order of the families."""
    return [place(family, defaults(space), families) for family, space in families.items()]


def place(family: str, hyperparameters: Hyperparameters, families: Mapping[str, Space]) -> dict[str, Any]:
    """Return the point of the flat space that means these hyperparameters; what the family lacks is in the middle."""
    from fleetml.learn.study.positions import position

    own = {_name(name): (each, hyperparameters[name]) for name, each in families[family].items()}
    found: dict[str, Any] = {FAMILY: family}
    for name in flat(families):
        if name in own:
            each, value = own[name]
            found[name] = value if _same(name, families) else position(each.distribution(), value)
        elif name != FAMILY:
            found[name] = _MIDDLE
    return found


def _name(name: str) -> str:
    return _ALIKE.get(name, name)


def _same(name: str, families: Mapping[str, Space]) -> Range | None:
    """Return the range that all families share under a name, whatever their defaults in it."""
    ranges = [each for space in families.values() for own, each in space.items() if _name(own) == name]
    bounds = {(each.low, each.high, each.log, type(each.default)) for each in ranges}
    return ranges[0] if len(ranges) == len(families) and len(bounds) == 1 else None
