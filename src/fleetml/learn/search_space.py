"""Spaces of hyperparameters: ranges with a good default, which the searches share and the tuning narrows."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution

Number = int | float
Hyperparameters = dict[str, Number]


@dataclass(frozen=True)
class Range:
    """A numeric hyperparameter from `low` to `high`, both included; whole numbers when `default` is an int."""

    low: Number
    high: Number
    default: Number
    log: bool = False

    def suggest(self, trial: "optuna.Trial", name: str) -> Number:
        if isinstance(self.default, int):
            return trial.suggest_int(name, int(self.low), int(self.high), log=self.log)
        return trial.suggest_float(name, float(self.low), float(self.high), log=self.log)

    def distribution(self) -> "BaseDistribution":
        """Return it as Optuna's."""
        from optuna.distributions import FloatDistribution, IntDistribution

        if isinstance(self.default, int):
            return IntDistribution(int(self.low), int(self.high), log=self.log)
        return FloatDistribution(float(self.low), float(self.high), log=self.log)

    def around(self, value: Number) -> "Range":
        """Return the middle third of the range's width (in its logarithm where `log`) around a value inside it."""
        value = min(max(value, self.low), self.high)
        if self.log:
            reach = (self.high / self.low) ** (1 / 6)
            low, high = max(self.low, value / reach), min(self.high, value * reach)
        else:
            reach = (self.high - self.low) / 6
            low, high = max(self.low, value - reach), min(self.high, value + reach)
        if isinstance(self.default, int):
            return replace(self, low=math.floor(low), high=math.ceil(high), default=round(value))
        return replace(self, low=low, high=high, default=float(value))


Space = Mapping[str, Range]


def defaults(space: Space) -> Hyperparameters:
    """Return the good default of each hyperparameter."""
    return {name: field.default for name, field in space.items()}


def around(space: Space, center: Mapping[str, Number]) -> dict[str, Range]:
    """Return the space narrowed around a known good point; what the point does not name keeps its default."""
    return {name: field.around(center.get(name, field.default)) for name, field in space.items()}


def suggest(trial: "optuna.Trial", families: Mapping[str, Space]) -> tuple[str, Hyperparameters]:
    """Return the family and hyperparameters of a trial. Names are prefixed inside Optuna: families share some."""
    family = trial.suggest_categorical("family", list(families))
    return family, {name: field.suggest(trial, f"{family}.{name}") for name, field in families[family].items()}


def starts(families: Mapping[str, Space]) -> list[dict[str, Number | str]]:
    """Return the default point of each family as Optuna parameters, in the order of the families."""
    return [
        {"family": family, **{f"{family}.{name}": value for name, value in defaults(space).items()}}
        for family, space in families.items()
    ]
