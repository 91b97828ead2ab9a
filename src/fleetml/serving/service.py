"""The rpcs of AIService."""

import functools
import logging
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, TypeVar

import grpc

from fleetml.errors import FleetMLError, InvalidParameter
from fleetml.serving import errors, forecast
from fleetml.serving.contract import PROBE
from fleetml.serving.errors import NotImplementedYet
from fleetml.serving.inference import Inference
from fleetml.serving.proto import ai_service_pb2 as messages
from fleetml.serving.proto.ai_service_pb2_grpc import AIServiceServicer

BANDWIDTH = "bandwidth"

log = logging.getLogger(__name__)
_Request = TypeVar("_Request")
_Answer = TypeVar("_Answer")
_Rpc = Callable[[Any, _Request, Any], Awaitable[_Answer]]


def _answered(rpc: _Rpc[_Request, _Answer]) -> _Rpc[_Request, _Answer]:
    """Turn an rpc's exceptions into status codes, by the one table."""

    @functools.wraps(rpc)
    async def call(self: Any, request: _Request, context: Any) -> _Answer:
        try:
            return await rpc(self, request, context)
        except FleetMLError as error:
            await context.abort(errors.code(error), str(error))
        except Exception:
            log.exception("%s failed", rpc.__name__)
            await context.abort(grpc.StatusCode.INTERNAL, "the server failed; its log says why")
        raise AssertionError("unreachable: abort raises")

    return call


class AIService(AIServiceServicer):
    """Puts the messages of the contract into questions, and answers into messages."""

    def __init__(self, inference: Inference) -> None:
        self._inference = inference

    @_answered
    async def PredictBandwidth(self, request: messages.BandwidthRequest, context: Any) -> messages.BandwidthResponse:
        question = forecast.Question(
            request.vm_id, request.historical_metrics, request.horizon_minutes, None, _as_of(request)
        )
        model, answer = await self._inference.ask(BANDWIDTH, question, _probe(context))
        return messages.BandwidthResponse(
            predictions=answer.predictions.tolist(), confidence=model.confidence, model_version=model.version
        )

    @_answered
    async def Forecast(self, request: messages.ForecastRequest, context: Any) -> messages.ForecastResponse:
        if not request.model:
            raise InvalidParameter(
                "a forecast needs the name of a model, got an empty one; set model, say to 'bandwidth'"
            )
        question = forecast.Question(
            request.vm_id, request.history, request.horizon_minutes, request.covariates, _as_of(request)
        )
        model, answer = await self._inference.ask(request.model, question, _probe(context))
        return messages.ForecastResponse(
            forecast=answer.predictions.tolist(),
            confidence=model.confidence,
            model_version=model.version,
            step_seconds=answer.step_seconds,
        )

    @_answered
    async def OptimizePlacement(self, request: messages.PlacementRequest, context: Any) -> messages.PlacementResponse:
        raise NotImplementedYet(
            "OptimizePlacement needs a placement model, and there is none yet; it comes with train_placement"
        )

    @_answered
    async def DetectAnomaly(self, request: messages.AnomalyRequest, context: Any) -> messages.AnomalyResponse:
        raise NotImplementedYet(
            "DetectAnomaly needs an anomaly model, and there is none yet; it comes with train_anomaly"
        )


def _probe(context: Any) -> bool:
    return any(key == PROBE for key, _ in context.invocation_metadata() or ())


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
