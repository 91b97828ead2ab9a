"""The kind forecaster: a VM's history in, its forecast out (docs/adr/0002)."""

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import numpy.typing as npt

from fleetml.errors import FleetMLError, InvalidParameter, nearest
from fleetml.learn.forecaster import try_out
from fleetml.learn.graph import InvalidGraph, decode
from fleetml.learn.windows import Floats, Meta
from fleetml.serving import features
from fleetml.serving.backends import Arrays, Session
from fleetml.serving.kinds import Told
from fleetml.serving.model import Model


class Forecaster:
    """`about` is the graph's `Meta`."""

    def open(self, name: str, session: Session) -> Meta:
        said = decode({key.removeprefix("fleetml."): value for key, value in session.metadata.items()})
        meta = said.meta
        try_out(lambda history, covariates: _run(session, history, covariates), meta, said.family)
        if meta.target != name:
            raise InvalidGraph(
                f"model {name} must forecast {name}, but its graph forecasts {meta.target}; deploy it under that name"
            )
        return meta

    def covariates(self, about: Meta) -> Sequence[str]:
        return about.covariates

    def columns(self, about: Meta) -> Sequence[str]:
        return features.columns(about.covariates)

    def features(self, about: Meta, inputs: Sequence[Arrays]) -> npt.NDArray[np.float64]:
        history, covariates = (np.concatenate([row[name] for row in inputs]) for name in ("history", "covariates"))
        return features.values(history, covariates)

    def told(self, about: Meta, outputs: Arrays) -> Told | None:
        made = outputs["forecast"]
        return Told(made[0], about.step_seconds) if len(made) == 1 and np.isfinite(made).all() else None


KIND = Forecaster()


@dataclass(frozen=True)
class Forecast:
    """predictions [steps] in the target's unit, one every `step_seconds`."""

    predictions: Floats
    step_seconds: int


@dataclass(frozen=True)
class Question:
    """`history` is oldest first; `given` covariates by feature reference, none: they are looked up by `vm_id`."""

    vm_id: str
    history: Sequence[float]
    horizon_minutes: int
    given: Mapping[str, float] | None = None
    as_of: datetime | None = None
    kind = "forecaster"

    def __post_init__(self) -> None:
        if not self.vm_id:
            raise InvalidParameter("a forecast needs the VM it is for, got an empty vm_id; set it")

    @property
    def key(self) -> str:
        return self.vm_id

    def wanted(self, model: Model) -> Sequence[str]:
        meta: Meta = model.about
        return () if self.given else meta.covariates

    def inputs(self, model: Model, found: Mapping[str, float]) -> Arrays:
        _steps(model, self.horizon_minutes)
        return {"history": _history(model, self.history), "covariates": _covariates(model, self.given, found)}

    def answer(self, model: Model, outputs: Arrays) -> Forecast:
        forecast: Floats = outputs["forecast"][0, : _steps(model, self.horizon_minutes)]
        if not np.isfinite(forecast).all():
            raise FleetMLError(
                f"a forecast must be finite, model {model.name} version {model.version} makes {forecast.tolist()} of this "
                "history and these covariates; send plausible ones, or roll the model back"
            )
        return Forecast(forecast, model.about.step_seconds)


def _run(session: Session, history: Floats, covariates: Floats) -> Floats:
    return session.run({"history": history, "covariates": covariates})["forecast"]


def _steps(model: Model, horizon_minutes: int) -> int:
    """Return how many steps cover the horizon: whole steps, rounded up."""
    meta: Meta = model.about
    limit = meta.horizon * meta.step_seconds // 60
    if not 0 < horizon_minutes <= limit:
        raise InvalidParameter(
            f"horizon_minutes must be from 1 to {limit}, the horizon of model {model.name} version {model.version}, "
            f"got {horizon_minutes}; ask for less, or train with a longer horizon"
        )
    return -(-horizon_minutes * 60 // meta.step_seconds)


def _history(model: Model, values: Sequence[float]) -> Floats:
    """Return the last `context` values as [1, context]."""
    meta: Meta = model.about
    context = meta.context
    if len(values) < context:
        raise InvalidParameter(
            f"the history must hold at least {context} values, one every {meta.step_seconds} s, for model "
            f"{model.name} version {model.version}, got {len(values)}; "
            f"send {context - len(values)} more, older ones first"
        )
    # Half the time of numpy.array; what float32 cannot hold becomes infinite, and is refused
    row = np.frombuffer(array("f", values[-context:]), np.float32)
    if not (row.min() >= 0 and row.max() < np.inf):  # neither holds for NaN
        place = int((~(np.isfinite(row) & (row >= 0))).argmax())
        raise InvalidParameter(
            f"the history must be finite and not negative, got {values[-context + place]} "
            f"at place {place - context} from its end; fill gaps with the value before"
        )
    return row[None, :]


_NO_COVARIATES = np.empty((1, 0), np.float32)


def _covariates(model: Model, given: Mapping[str, float] | None, found: Mapping[str, float]) -> Floats:
    """Return the model's covariates as [1, C]; one that is neither given nor found, or not finite, is absent (NaN)."""
    meta: Meta = model.about
    if given and (unknown := sorted(set(given) - set(meta.covariates))):
        told = nearest(unknown[0], meta.covariates)
        raise InvalidParameter(
            f"covariates must be among those of model {model.name} version {model.version}, {list(meta.covariates)}, "
            f"got {unknown}{told or '; leave them out'}"
        )
    if not meta.covariates:
        return _NO_COVARIATES
    values = given or found
    row = np.array([values.get(reference, np.nan) for reference in meta.covariates], dtype=np.float32)
    row[~np.isfinite(row)] = np.nan
    return row[None, :]
