"""The rpcs of the service: what is sent, and how the answer is read. Both clients ask through these."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from google.protobuf import wrappers_pb2

from fleetml_client import ai_service_pb2 as messages
from fleetml_client import answers, questions
from fleetml_client.answers import Anomaly, Forecast, Placement
from fleetml_client.questions import AnomalyQuestion, BandwidthQuestion, PlacementQuestion

SERVICE = messages.DESCRIPTOR.services_by_name["AIService"].full_name
"""The name health checks ask for."""

_T = TypeVar("_T")


@dataclass(frozen=True)
class Call(Generic[_T]):
    """A call of `method` (its path) with `request`; `read` makes the value of its `response`."""

    method: str
    request: Any
    response: Callable[[bytes], Any]
    read: Callable[[Any], _T]


def predict_bandwidth(asked: BandwidthQuestion) -> Call[Forecast]:
    return _call(
        "PredictBandwidth", questions.bandwidth(asked), messages.BandwidthResponse.FromString, answers.bandwidth
    )


def forecast(model: str, asked: BandwidthQuestion, covariates: Mapping[str, float] | None) -> Call[Forecast]:
    request = questions.forecast(model, asked, covariates)
    return _call("Forecast", request, messages.ForecastResponse.FromString, answers.forecast)


def optimize_placement(asked: PlacementQuestion) -> Call[Placement]:
    return _call(
        "OptimizePlacement", questions.placement(asked), messages.PlacementResponse.FromString, answers.placement
    )


def detect_anomaly(asked: AnomalyQuestion) -> Call[Anomaly]:
    return _call("DetectAnomaly", questions.anomaly(asked), messages.AnomalyResponse.FromString, answers.anomaly)


def predict_bandwidth_batch(asked: Iterable[BandwidthQuestion]) -> Call[list[Forecast]]:
    request = messages.BandwidthBatchRequest(requests=map(questions.bandwidth, asked))
    read = _each(answers.bandwidth)
    return _call("PredictBandwidthBatch", request, messages.BandwidthBatchResponse.FromString, read)


def optimize_placement_batch(asked: Iterable[PlacementQuestion]) -> Call[list[Placement]]:
    request = messages.PlacementBatchRequest(requests=map(questions.placement, asked))
    read = _each(answers.placement)
    return _call("OptimizePlacementBatch", request, messages.PlacementBatchResponse.FromString, read)


def detect_anomaly_batch(asked: Iterable[AnomalyQuestion]) -> Call[list[Anomaly]]:
    request = messages.AnomalyBatchRequest(requests=map(questions.anomaly, asked))
    read = _each(answers.anomaly)
    return _call("DetectAnomalyBatch", request, messages.AnomalyBatchResponse.FromString, read)


def healthy(service: str) -> Call[bool]:
    """The messages of grpc.health.v1 look on the wire as these wrappers do: one text, one number (1: SERVING)."""
    request = wrappers_pb2.StringValue(value=service)
    return Call(
        "/grpc.health.v1.Health/Check", request, wrappers_pb2.Int32Value.FromString, lambda said: said.value == 1
    )


def _call(rpc: str, request: Any, response: Callable[[bytes], Any], read: Callable[[Any], _T]) -> Call[_T]:
    return Call(f"/{SERVICE}/{rpc}", request, response, read)


def _each(read: Callable[[Any], _T]) -> Callable[[Any], list[_T]]:
    return lambda answer: [read(one) for one in answer.responses]
