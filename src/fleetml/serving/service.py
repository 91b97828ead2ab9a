"""The rpcs of AIService."""

from datetime import UTC, datetime
from typing import Any

from fleetml.errors import InvalidParameter
from fleetml.learn.anomaly.samples import METRICS
from fleetml.serving import anomaly, forecast, placement
from fleetml.serving.batch import Placed, in_order
from fleetml.serving.contract import SERVICE
from fleetml.serving.inference import Inference
from fleetml.serving.model import Model
from fleetml.serving.rpc import answered, expires, probe
from fleetml_client import ai_service_pb2 as messages
from fleetml_client.ai_service_pb2_grpc import AIServiceServicer

BANDWIDTH, PLACEMENT, ANOMALY = "bandwidth", "placement", "anomaly"
"""The models that the rpcs with a fixed name ask."""


class AIService(AIServiceServicer):
    """Puts the messages of the contract into questions, and answers into messages."""

    SERVICE = SERVICE

    def __init__(self, inference: Inference) -> None:
        self._inference = inference

    @answered
    async def PredictBandwidth(self, request: messages.BandwidthRequest, context: Any) -> messages.BandwidthResponse:
        return _forecast(*await self._inference.ask(BANDWIDTH, _bandwidth(request), probe(context), expires(context)))

    @answered
    async def PredictBandwidthBatch(
        self, request: messages.BandwidthBatchRequest, context: Any
    ) -> messages.BandwidthBatchResponse:
        questions = []
        with Placed() as at:
            for at.place, one in enumerate(request.requests):
                questions.append(_bandwidth(one))
        made = await self._inference.ask_many(BANDWIDTH, questions, probe(context), expires(context))
        return messages.BandwidthBatchResponse(responses=[_forecast(*answered) for answered in made])

    @answered
    async def Forecast(self, request: messages.ForecastRequest, context: Any) -> messages.ForecastResponse:
        if not request.model:
            raise InvalidParameter(
                "a forecast needs the name of a model, got an empty one; set model, say to 'bandwidth'"
            )
        question = forecast.Question(
            request.vm_id, request.history, request.horizon_minutes, request.covariates, _as_of(request)
        )
        model, answer = await self._inference.ask(request.model, question, probe(context), expires(context))
        return messages.ForecastResponse(
            forecast=answer.predictions.tolist(),
            confidence=model.confidence,
            model_version=model.version,
            step_seconds=answer.step_seconds,
        )

    @answered
    async def OptimizePlacement(self, request: messages.PlacementRequest, context: Any) -> messages.PlacementResponse:
        return await self._placement(request, context)

    @answered
    async def OptimizePlacementBatch(
        self, request: messages.PlacementBatchRequest, context: Any
    ) -> messages.PlacementBatchResponse:
        responses = await in_order([self._placement(one, context) for one in request.requests])
        return messages.PlacementBatchResponse(responses=responses)

    @answered
    async def DetectAnomaly(self, request: messages.AnomalyRequest, context: Any) -> messages.AnomalyResponse:
        return await self._anomaly(request, context)

    @answered
    async def DetectAnomalyBatch(
        self, request: messages.AnomalyBatchRequest, context: Any
    ) -> messages.AnomalyBatchResponse:
        responses = await in_order([self._anomaly(one, context) for one in request.requests])
        return messages.AnomalyBatchResponse(responses=responses)

    async def _placement(self, request: messages.PlacementRequest, context: Any) -> messages.PlacementResponse:
        nodes = [
            placement.Node(
                node.node_id, node.cpu_available, node.memory_available, tuple(node.gpu_milli_available), node.gpu_model
            )
            for node in request.available_nodes
        ]
        question = placement.Question(request.workload_id, dict(request.requirements), nodes)
        model, answer = await self._inference.ask(PLACEMENT, question, probe(context), expires(context))
        return messages.PlacementResponse(
            candidates=[
                messages.PlacementCandidate(node_id=each.node_id, score=each.score, reasoning=each.reasoning)
                for each in answer.candidates
            ],
            overall_confidence=model.confidence if answer.candidates else 0.0,
            model_version=model.version,
        )

    async def _anomaly(self, request: messages.AnomalyRequest, context: Any) -> messages.AnomalyResponse:
        if not request.HasField("current_metrics"):
            raise InvalidParameter("a question about anomalies needs metrics, got no current_metrics; send them")
        metrics = {name: getattr(request.current_metrics, name) for name in METRICS}
        question = anomaly.Question(request.vm_id, metrics)
        model, answer = await self._inference.ask(ANOMALY, question, probe(context), expires(context))
        return messages.AnomalyResponse(
            is_anomaly=answer.is_anomaly,
            score=answer.score,
            anomaly_type=answer.anomaly_type,
            severity=answer.severity,
            model_version=model.version,
            contributions=answer.contributions,
        )


def _bandwidth(request: messages.BandwidthRequest) -> forecast.Question:
    return forecast.Question(request.vm_id, request.historical_metrics, request.horizon_minutes, None, _as_of(request))


def _forecast(model: Model, answer: forecast.Forecast) -> messages.BandwidthResponse:
    return messages.BandwidthResponse(
        predictions=answer.predictions.tolist(), confidence=model.confidence, model_version=model.version
    )


def _as_of(request: messages.BandwidthRequest | messages.ForecastRequest) -> datetime | None:
    """Raises InvalidParameter for a time that is none."""
    if not request.HasField("as_of"):
        return None
    try:
        return request.as_of.ToDatetime(UTC)
    except (ValueError, OverflowError) as error:
        raise InvalidParameter(
            f"as_of must be a time from the year 1 to 9999, got {request.as_of.seconds} s since 1970 ({error}); correct it"
        ) from error
