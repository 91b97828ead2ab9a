"""A small client of AIService."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from fleetml.serving import errors
from fleetml.serving.contract import MESSAGE_BYTES, PROBE
from fleetml.serving.proto import ai_service_pb2 as messages
from fleetml.serving.proto.ai_service_pb2_grpc import AIServiceStub


@dataclass(frozen=True)
class Forecast:
    """An answer: `values` in the target's unit, one a step; `confidence` as ai_service.proto documents it."""

    values: tuple[float, ...]
    confidence: float
    model_version: str


class Client:
    """Asks the server at `address` (host:port), waiting at most `timeout` seconds for an answer.

    Its methods raise what the server meant: InvalidParameter, Unavailable (also when nobody answers),
    NotImplementedYet. With `probe` the requests are not logged as traffic. `token` is what the server knows this client
    by; `trusted` the PEM file of whoever signed its certificate, None: no TLS. Close it, or use it in a ``with``.
    """

    def __init__(
        self, address: str, timeout: float = 5.0, probe: bool = False, token: str = "", trusted: Path | None = None
    ) -> None:
        self.address = address
        self._timeout = timeout
        self._metadata: tuple[tuple[str, str], ...] = ((PROBE, "1"),) if probe else ()
        if token:
            self._metadata += (("authorization", f"Bearer {token}"),)
        loopback = address.rpartition(":")[0] in ("127.0.0.1", "localhost", "[::1]")
        options = [
            ("grpc.max_receive_message_length", MESSAGE_BYTES),
            ("grpc.max_send_message_length", MESSAGE_BYTES),
            ("grpc.enable_http_proxy", 0 if loopback else 1),
        ]
        if trusted is None:
            self._channel = grpc.insecure_channel(address, options)
        else:
            self._channel = grpc.secure_channel(address, grpc.ssl_channel_credentials(trusted.read_bytes()), options)
        self._ai = AIServiceStub(self._channel)
        self._health = health_pb2_grpc.HealthStub(self._channel)

    def predict_bandwidth(
        self, vm_id: str, history: Sequence[float], horizon_minutes: int, as_of: datetime | None = None
    ) -> Forecast:
        """Ask PredictBandwidth. `history` in kB/s, oldest first, ends at `as_of` (None: now)."""
        request = messages.BandwidthRequest(
            vm_id=vm_id, historical_metrics=history, horizon_minutes=horizon_minutes, as_of=as_of
        )
        answer = self._ask(self._ai.PredictBandwidth, request)
        return Forecast(tuple(answer.predictions), answer.confidence, answer.model_version)

    def forecast(
        self,
        model: str,
        vm_id: str,
        history: Sequence[float],
        horizon_minutes: int,
        covariates: Mapping[str, float] | None = None,
        as_of: datetime | None = None,
    ) -> Forecast:
        """Ask Forecast of any model; without `covariates` the server looks them up. `history` ends at `as_of` (None: now)."""
        request = messages.ForecastRequest(
            model=model,
            vm_id=vm_id,
            history=history,
            horizon_minutes=horizon_minutes,
            covariates=covariates or {},
            as_of=as_of,
        )
        answer = self._ask(self._ai.Forecast, request)
        return Forecast(tuple(answer.forecast), answer.confidence, answer.model_version)

    def optimize_placement(
        self, workload_id: str, requirements: Mapping[str, float], nodes: Sequence[messages.NodeInfo]
    ) -> messages.PlacementResponse:
        """Ask OptimizePlacement: the nodes with room, best first. Units: ai_service.proto."""
        request = messages.PlacementRequest(workload_id=workload_id, requirements=requirements, available_nodes=nodes)
        answer: messages.PlacementResponse = self._ask(self._ai.OptimizePlacement, request)
        return answer

    def detect_anomaly(self, vm_id: str, metrics: Mapping[str, float]) -> messages.AnomalyResponse:
        """Ask DetectAnomaly. `metrics` by the names of VMMetrics; one that is not given is absent."""
        given = {**dict.fromkeys(messages.VMMetrics.DESCRIPTOR.fields_by_name, math.nan), **metrics}
        request = messages.AnomalyRequest(vm_id=vm_id, current_metrics=messages.VMMetrics(**given))
        answer: messages.AnomalyResponse = self._ask(self._ai.DetectAnomaly, request)
        return answer

    def healthy(self, service: str = "") -> bool:
        """Say whether the server is up and has looked at what is deployed ("").

        For `contract.SERVICE`: whether it has a model loaded. Never raises.
        """
        try:
            answer = self._health.Check(health_pb2.HealthCheckRequest(service=service), timeout=self._timeout)
        except grpc.RpcError:
            return False
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

    def close(self) -> None:
        self._channel.close()

    def __enter__(self) -> "Client":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _ask(self, rpc: grpc.UnaryUnaryMultiCallable, request: object) -> Any:
        try:
            return rpc(request, timeout=self._timeout, metadata=self._metadata)
        except grpc.RpcError as error:
            raise errors.error(error.code(), f"{error.details()} (server {self.address})") from error
