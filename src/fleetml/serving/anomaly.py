"""The kind anomaly: a VM's metrics now in, how far from usual they are and which of them out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import numpy.typing as npt

from fleetml.errors import FleetMLError, InvalidParameter
from fleetml.learn import scorer
from fleetml.learn.anomaly.samples import METRICS
from fleetml.learn.graph import InvalidGraph
from fleetml.serving.backends import Arrays, Session
from fleetml.serving.kinds import Told
from fleetml.serving.model import Model

TYPES = {"cpu": "cpu", "memory": "memory", "disk_io": "disk", "network_io": "network", "latency": "latency"}
TYPES["error_rate"] = "errors"
COMBINED = "combined"
LARGEST = float(np.finfo(np.float32).max)
MAIN = 0.5
"""Share of the contributions that names the type; below it the anomaly is combined."""
SEVERITIES = ("low", "medium", "high")
"""From the threshold to a score of 1, in steps of the odds' logarithm: a quarter of the way, a half, beyond."""


class Anomaly:
    """`about` is the graph's `Description`."""

    def open(self, name: str, session: Session) -> scorer.Description:
        said = scorer.describe(session.metadata)
        try:
            threshold = float(said.about["threshold"])
            made = session.run({"metrics": np.array([[50.0] * 6, [math.nan] * 6], np.float32)})
            score, contribution = made["score"], made["contribution"]
            right = score.shape == (2, 1) and contribution.shape == (2, 6) and 0 < threshold < 1
            right = right and bool(np.isfinite(contribution).all() and ((score >= 0) & (score <= 1)).all())
        except Exception as error:  # a runtime's errors share no base
            raise InvalidGraph(f"model {name} must be an anomaly graph, got {error!r}; train it again") from error
        if not right:
            raise InvalidGraph(
                f"model {name} must score metrics from 0 to 1, got {score.tolist()} with threshold {threshold}; train it again"
            )
        return said

    def covariates(self, about: scorer.Description) -> Sequence[str]:
        return ()

    def columns(self, about: scorer.Description) -> Sequence[str]:
        return METRICS

    def features(self, about: scorer.Description, inputs: Sequence[Arrays]) -> npt.NDArray[np.float64]:
        return np.concatenate([each["metrics"] for each in inputs]).astype(np.float64)

    def told(self, about: scorer.Description, outputs: Arrays) -> Told | None:
        return Told(outputs["score"][0], 0) if len(outputs["score"]) == 1 else None


KIND = Anomaly()


@dataclass(frozen=True)
class Verdict:
    """`score` from 0 to 1; type and severity are "" where it is no anomaly. contributions by metric, they add up to 1."""

    is_anomaly: bool
    score: float
    anomaly_type: str
    severity: str
    contributions: Mapping[str, float]
    step_seconds = 0

    @property
    def predictions(self) -> npt.NDArray[np.float64]:
        return np.array([self.score])


@dataclass(frozen=True)
class Question:
    """Are these metrics usual? In the units of the feature table (docs/adr/0002); NaN: absent. A latency of 0 is absent,
    too: none was measured. Raises InvalidParameter for what cannot be.
    """

    vm_id: str
    metrics: Mapping[str, float]
    as_of: datetime | None = None
    kind = "anomaly"

    def __post_init__(self) -> None:
        if not self.vm_id:
            raise InvalidParameter("a question about anomalies needs the VM it is about, got an empty vm_id; set it")
        for name, value in self.metrics.items():
            if name not in METRICS:
                raise InvalidParameter(f"metrics are {', '.join(METRICS)}, got {name!r}; correct or remove it")
            if not math.isnan(value) and not 0 <= value <= LARGEST:
                raise InvalidParameter(
                    f"{name} must be a finite number from 0, or NaN where it is absent, got {value}; correct it"
                )
        if not np.isfinite(self._row()).any():
            raise InvalidParameter(
                f"at least one of {', '.join(METRICS)} must be given, got none of VM {self.vm_id}; send them"
            )

    @property
    def key(self) -> str:
        return self.vm_id

    def wanted(self, model: Model) -> Sequence[str]:
        return ()

    def inputs(self, model: Model, found: Mapping[str, float]) -> Arrays:
        return {"metrics": self._row()}

    def answer(self, model: Model, outputs: Arrays) -> Verdict:
        score = float(outputs["score"][0, 0])
        if not 0 <= score <= 1:
            raise FleetMLError(
                f"a score must be from 0 to 1, model {model.name} version {model.version} makes {score} of these metrics; "
                "roll the model back"
            )
        shares = dict(zip(METRICS, outputs["contribution"][0].tolist(), strict=True))
        threshold = float(model.about.about["threshold"])
        if score < threshold:
            return Verdict(False, score, "", "", shares)
        main = max(METRICS, key=lambda name: shares[name])
        kind = TYPES[main] if shares[main] >= MAIN else COMBINED
        return Verdict(True, score, kind, severity(score, threshold), shares)

    def _row(self) -> npt.NDArray[np.float32]:
        row = np.array([[self.metrics.get(name, math.nan) for name in METRICS]], np.float32)
        if row[0, METRICS.index("latency")] == 0:
            row[0, METRICS.index("latency")] = np.nan
        return row


def severity(score: float, threshold: float) -> str:
    """Return how far beyond the threshold a score is."""
    score = min(score, 1 - 1e-6)
    begin, end = (math.log(odds / (1 - odds)) for odds in (threshold, 1 - 1e-6))
    way = (math.log(score / (1 - score)) - begin) / max(1e-9, end - begin)
    return SEVERITIES[min(int(way * 4), len(SEVERITIES) - 1)]
