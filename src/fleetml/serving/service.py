"""The rpcs of AIService."""

import asyncio
import functools
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import Executor
from typing import Any, TypeVar

import grpc
import numpy as np

from fleetml.errors import FleetMLError, InvalidParameter
from fleetml.learn.windows import Floats
from fleetml.serving import errors
from fleetml.serving.contract import PROBE
from fleetml.serving.errors import NotImplementedYet
from fleetml.serving.model import Model
from fleetml.serving.models import Models
from fleetml.serving.online import Covariates
from fleetml.serving.predictions import PredictionLog
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
    """Answers from `models`; covariates come from the request or from `covariates`; forecasts are run in `executor`."""

    def __init__(self, models: Models, covariates: Covariates, predictions: PredictionLog, executor: Executor) -> None:
        self._models = models
        self._covariates = covariates
        self._predictions = predictions
        self._executor = executor

    @_answered
    async def PredictBandwidth(self, request: messages.BandwidthRequest, context: Any) -> messages.BandwidthResponse:
        model, forecast = await self._forecast(
            context, BANDWIDTH, request.vm_id, request.historical_metrics, request.horizon_minutes
        )
        return messages.BandwidthResponse(
            predictions=forecast.tolist(), confidence=model.confidence, model_version=model.version
        )

    @_answered
    async def Forecast(self, request: messages.ForecastRequest, context: Any) -> messages.ForecastResponse:
        if not request.model:
            raise InvalidParameter(
                "a forecast needs the name of a model, got an empty one; set model, say to 'bandwidth'"
            )
        model, forecast = await self._forecast(
            context, request.model, request.vm_id, request.history, request.horizon_minutes, request.covariates
        )
        return messages.ForecastResponse(
            forecast=forecast.tolist(),
            confidence=model.confidence,
            model_version=model.version,
            step_seconds=model.meta.step_seconds,
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

    async def _forecast(
        self,
        context: Any,
        name: str,
        vm_id: str,
        values: Sequence[float],
        horizon_minutes: int,
        given: Mapping[str, float] | None = None,
    ) -> tuple[Model, Floats]:
        """Return the model that answered and its forecast [steps]."""
        if not vm_id:
            raise InvalidParameter("a forecast needs the VM it is for, got an empty vm_id; set it")
        model = self._models.get(name)
        steps, history = model.steps(horizon_minutes), model.history(values)
        references = model.meta.covariates
        if given and (unknown := sorted(set(given) - set(references))):
            raise InvalidParameter(
                f"covariates must be among those of model {name} version {model.version}, {list(references)}, "
                f"got {unknown}; leave them out"
            )
        covariates = model.covariates(given or await self._covariates.of(vm_id, references))
        loop = asyncio.get_running_loop()
        forecast = await loop.run_in_executor(self._executor, model.forecaster.predict, history, covariates)
        forecast = forecast[0, :steps]
        if not np.isfinite(forecast).all():
            raise FleetMLError(
                f"a forecast must be finite, model {name} version {model.version} makes {forecast.tolist()} of this "
                "history and these covariates; send plausible ones, or roll the model back"
            )
        if PROBE not in dict(context.invocation_metadata() or ()):
            self._predictions.add(model, vm_id, history, covariates, forecast)
        return model, forecast
