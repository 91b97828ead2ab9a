"""What the server answers, as values that cannot change."""

from collections.abc import Mapping
from dataclasses import dataclass

from fleetml_client import ai_service_pb2 as messages


@dataclass(frozen=True)
class Forecast:
    """`values` in the target's unit (bandwidth: kB/s), one a step, the first one step after the end of the history.

    `confidence` is 1 / (1 + MASE) on held-out windows; 0: unknown.
    """

    values: tuple[float, ...]
    confidence: float
    model_version: str


@dataclass(frozen=True)
class Candidate:
    """A node that has room, why it stands where it stands."""

    node_id: str
    score: float
    reasoning: str


@dataclass(frozen=True)
class Placement:
    """The nodes that have room, best first; none: the workload fits nowhere."""

    candidates: tuple[Candidate, ...]
    overall_confidence: float
    model_version: str


@dataclass(frozen=True)
class Anomaly:
    """`score` from 0 to 1; `anomaly_type` and `severity` are empty where there is none; `contributions` by metric add up to 1."""

    is_anomaly: bool
    score: float
    anomaly_type: str
    severity: str
    model_version: str
    contributions: Mapping[str, float]


def bandwidth(answer: messages.BandwidthResponse) -> Forecast:
    return Forecast(tuple(answer.predictions), answer.confidence, answer.model_version)


def forecast(answer: messages.ForecastResponse) -> Forecast:
    return Forecast(tuple(answer.forecast), answer.confidence, answer.model_version)


def placement(answer: messages.PlacementResponse) -> Placement:
    candidates = tuple(Candidate(each.node_id, each.score, each.reasoning) for each in answer.candidates)
    return Placement(candidates, answer.overall_confidence, answer.model_version)


def anomaly(answer: messages.AnomalyResponse) -> Anomaly:
    said = (answer.is_anomaly, answer.score, answer.anomaly_type, answer.severity, answer.model_version)
    return Anomaly(*said, contributions=dict(answer.contributions))
