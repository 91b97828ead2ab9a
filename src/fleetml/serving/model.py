"""One version of one model, loaded and tried: history in, forecast out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fleetml.errors import InvalidParameter
from fleetml.learn.forecaster import Forecaster, smoke
from fleetml.learn.graph import InvalidGraph
from fleetml.learn.windows import Floats, Meta
from fleetml.serving import deployment
from fleetml.serving.deployment import Deployed


@dataclass(frozen=True)
class Model:
    """A loaded version. `confidence` is that of `fleetml.serving.deployment.Card`."""

    name: str
    deployed: Deployed
    forecaster: Forecaster
    confidence: float

    @property
    def version(self) -> str:
        return self.deployed.version

    @property
    def meta(self) -> Meta:
        return self.forecaster.meta

    def steps(self, horizon_minutes: int) -> int:
        """Return how many steps cover the horizon: whole steps, rounded up.

        Raises InvalidParameter for a horizon below one minute or beyond the model's.
        """
        limit = self.meta.horizon * self.meta.step_seconds // 60
        if not 0 < horizon_minutes <= limit:
            raise InvalidParameter(
                f"horizon_minutes must be from 1 to {limit}, the horizon of model {self.name} version {self.version}, "
                f"got {horizon_minutes}; ask for less, or train with a longer horizon"
            )
        return -(-horizon_minutes * 60 // self.meta.step_seconds)

    def history(self, values: Sequence[float]) -> Floats:
        """Return the last `context` values as [1, context]; raises InvalidParameter when they cannot be a history."""
        context = self.meta.context
        if len(values) < context:
            raise InvalidParameter(
                f"the history must hold at least {context} values, one every {self.meta.step_seconds} s, for model "
                f"{self.name} version {self.version}, got {len(values)}; "
                f"send {context - len(values)} more, older ones first"
            )
        with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is refused
            row = np.array(values[-context:], dtype=np.float32)
        wrong = ~(np.isfinite(row) & (row >= 0))
        if wrong.any():
            place = int(wrong.argmax())
            raise InvalidParameter(
                f"the history must be finite and not negative, got {values[-context + place]} "
                f"at place {place - context} from its end; fill gaps with the value before"
            )
        return row[None, :]

    def covariates(self, values: Mapping[str, float]) -> Floats:
        """Return the model's covariates as [1, C]; one that is not given, or not finite, is absent (NaN)."""
        row = np.array([values.get(reference, np.nan) for reference in self.meta.covariates], dtype=np.float32)
        row[~np.isfinite(row)] = np.nan
        return row[None, :]


def load(root: Path, name: str, deployed: Deployed) -> Model:
    """Load a version and try it on awkward histories.

    Raises InvalidGraph for a graph that is missing, not what was deployed, not a forecaster of `name`, or fails.
    """
    path = root / deployed.graph
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InvalidGraph(f"the deployed graph must exist, got {error}; deploy the model again") from error
    if (found := deployment.digest(path)) != deployed.sha256:
        raise InvalidGraph(f"{path} must have SHA-256 {deployed.sha256}, got {found}; deploy the model again")
    forecaster = Forecaster(content)
    smoke(content, forecaster.meta)
    if forecaster.meta.target != name:
        raise InvalidGraph(
            f"model {name} must forecast {name}, but {path} forecasts {forecaster.meta.target}; "
            "deploy it under that name"
        )
    card = deployment.card(path)
    return Model(name, deployed, forecaster, card.confidence if card else 0.0)
