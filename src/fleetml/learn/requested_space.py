"""Search spaces as callers write them: ``{"n_estimators": {"type": "integer", "min": 10, "max": 100}}``.

Types: integer and float (min, max, and ``"scale": "log"``), categorical (values). Light: Optuna loads for a study only.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fleetml.errors import InvalidParameter

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution

TYPES = ("integer", "float", "categorical")
SCALES = ("linear", "log")


@dataclass(frozen=True)
class Dimension:
    """One name of a space. `values` of a categorical one, else from `low` to `high`, both included."""

    type: str
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    values: tuple[Any, ...] = ()

    def ends(self) -> tuple[Any, ...]:
        """Return the values that must fit where the dimension's are used: its ends, or all of a categorical one."""
        if self.type == "categorical":
            return self.values
        return (int(self.low), int(self.high)) if self.type == "integer" else (self.low, self.high)

    def distribution(self) -> "BaseDistribution":
        """Return it as Optuna's; a categorical one is drawn by the place in `values`, which may be of any type."""
        from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

        match self.type:
            case "integer":
                return IntDistribution(int(self.low), int(self.high), log=self.log)
            case "float":
                return FloatDistribution(self.low, self.high, log=self.log)
        return CategoricalDistribution(list(range(len(self.values))))

    def value(self, drawn: Any) -> Any:
        """Return the value that was drawn from `distribution`."""
        return self.values[drawn] if self.type == "categorical" else drawn

    def suggest(self, trial: "optuna.Trial", name: str) -> Any:
        """Return a trial's value."""
        match self.type:
            case "integer":
                return trial.suggest_int(name, int(self.low), int(self.high), log=self.log)
            case "float":
                return trial.suggest_float(name, self.low, self.high, log=self.log)
        return self.values[trial.suggest_categorical(name, list(range(len(self.values))))]


def parse(space: Any, place: str) -> dict[str, Dimension]:
    """Return the dimensions by name. Raises InvalidParameter that names the place."""
    if not isinstance(space, Mapping):
        raise InvalidParameter(f"{place} must be a mapping of names to ranges, got {space!r}; correct it")
    return {str(name): _dimension(entry, f"{place}.{name}") for name, entry in space.items()}


def _dimension(entry: Any, place: str) -> Dimension:
    if not isinstance(entry, Mapping) or entry.get("type") not in TYPES:
        got = entry.get("type") if isinstance(entry, Mapping) else entry
        raise InvalidParameter(f"{place}.type must be one of {', '.join(TYPES)}, got {got!r}; correct it")
    kind = entry["type"]
    known = {"type", "values"} if kind == "categorical" else {"type", "min", "max", "scale"}
    if odd := sorted(set(entry) - known):
        raise InvalidParameter(f"{place} of type {kind} has {', '.join(sorted(known))}, got {odd[0]!r}; remove it")
    if kind == "categorical":
        values = entry.get("values")
        if not isinstance(values, list) or not values:
            raise InvalidParameter(f"{place}.values must be a list of at least one value, got {values!r}; correct it")
        return Dimension(kind, values=tuple(values))
    return _range(kind, entry, place)


def _range(kind: str, entry: Mapping[str, Any], place: str) -> Dimension:
    low, high, scale = entry.get("min"), entry.get("max"), entry.get("scale", "linear")
    for name, value in (("min", low), ("max", high)):
        fits = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        if not fits or (kind == "integer" and value != int(value)):  # type: ignore[arg-type]
            what = "a whole number" if kind == "integer" else "a finite number"
            raise InvalidParameter(f"{place}.{name} must be {what}, got {value!r}; correct it")
    if scale not in SCALES:
        raise InvalidParameter(f"{place}.scale must be one of {', '.join(SCALES)}, got {scale!r}; correct it")
    if not low <= high:  # type: ignore[operator]
        raise InvalidParameter(f"{place}.min must not be above max, got {low} and {high}; correct them")
    if scale == "log" and not low > 0:  # type: ignore[operator]
        raise InvalidParameter(f"{place}.min of a log scale must be positive, got {low}; correct it")
    return Dimension(kind, float(low), float(high), scale == "log")  # type: ignore[arg-type]


def study(maximise: bool, seed: int, starts: Sequence[Mapping[str, Any]] = ()) -> "optuna.Study":
    """Return a study by TPE whose first trials are `starts`; the same seed draws the same trials."""
    import warnings

    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    sampler = optuna.samplers.TPESampler(seed=seed, multivariate=True, group=True, n_startup_trials=max(5, len(starts)))
    made = optuna.create_study(sampler=sampler, direction="maximize" if maximise else "minimize")
    for start in starts:
        made.enqueue_trial(dict(start))
    return made
