"""The client for threads."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import grpc

from fleetml_client import calls, errors
from fleetml_client.answers import Anomaly, Forecast, Placement
from fleetml_client.calls import Call
from fleetml_client.connection import Target
from fleetml_client.questions import AnomalyQuestion, BandwidthQuestion, Node, PlacementQuestion

_T = TypeVar("_T")


class Client:
    """Asks the server at `address`; what is given by name is a `Target`'s.

    Its methods raise `errors.Error`. Threads may share it. Close it, or use it in a ``with``.
    """

    def __init__(
        self,
        address: str,
        timeout: float = 5.0,
        probe: bool = False,
        token: str = "",
        trusted: Path | None = None,
        tls: bool = False,
        attempts: int = 4,
    ) -> None:
        self.address = address
        self._target = Target(address, timeout, token, trusted, tls, probe, attempts)
        self._metadata = self._target.metadata()
        self._rpcs: dict[str, grpc.UnaryUnaryMultiCallable] = {}
        credentials, options = self._target.credentials(), self._target.options()
        self._channel = (
            grpc.secure_channel(address, credentials, options)
            if credentials
            else grpc.insecure_channel(address, options)
        )

    def predict_bandwidth(
        self, vm_id: str, history: Iterable[float], horizon_minutes: int, as_of: datetime | None = None
    ) -> Forecast:
        """Ask PredictBandwidth. `history` in kB/s, oldest first, ends at `as_of` (None: now)."""
        return self._ask(calls.predict_bandwidth(BandwidthQuestion(vm_id, history, horizon_minutes, as_of)))

    def forecast(
        self,
        model: str,
        vm_id: str,
        history: Iterable[float],
        horizon_minutes: int,
        covariates: Mapping[str, float] | None = None,
        as_of: datetime | None = None,
    ) -> Forecast:
        """Ask Forecast of any model; without `covariates` the server looks them up. `history` ends at `as_of` (None: now)."""
        return self._ask(calls.forecast(model, BandwidthQuestion(vm_id, history, horizon_minutes, as_of), covariates))

    def optimize_placement(
        self, workload_id: str, requirements: Mapping[str, float], nodes: Iterable[Node]
    ) -> Placement:
        """Ask OptimizePlacement: the nodes with room, best first."""
        return self._ask(calls.optimize_placement(PlacementQuestion(workload_id, requirements, nodes)))

    def detect_anomaly(self, vm_id: str, metrics: Mapping[str, float]) -> Anomaly:
        """Ask DetectAnomaly. `metrics` by the names of VMMetrics; one that is not given is absent."""
        return self._ask(calls.detect_anomaly(AnomalyQuestion(vm_id, metrics)))

    def predict_bandwidth_batch(self, questions: Iterable[BandwidthQuestion]) -> list[Forecast]:
        """Ask many at once; the answers come in their order. One that is refused refuses all, by its place."""
        return self._ask(calls.predict_bandwidth_batch(questions))

    def optimize_placement_batch(self, questions: Iterable[PlacementQuestion]) -> list[Placement]:
        """As `predict_bandwidth_batch`."""
        return self._ask(calls.optimize_placement_batch(questions))

    def detect_anomaly_batch(self, questions: Iterable[AnomalyQuestion]) -> list[Anomaly]:
        """As `predict_bandwidth_batch`."""
        return self._ask(calls.detect_anomaly_batch(questions))

    def healthy(self, service: str = "") -> bool:
        """Say whether the server is up and has looked at what is deployed ("").

        For `calls.SERVICE`: whether it has a model loaded; for ``<SERVICE>/<model>``: that one. Never raises.
        """
        try:
            return self._send(calls.healthy(service))
        except grpc.RpcError:
            return False

    def close(self) -> None:
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _ask(self, call: Call[_T]) -> _T:
        try:
            return self._send(call)
        except grpc.RpcError as error:
            raise errors.of(error.code(), f"{error.details()} (server {self.address})") from error

    def _send(self, call: Call[_T]) -> _T:
        if (rpc := self._rpcs.get(call.method)) is None:
            coding = (type(call.request).SerializeToString, call.response)
            rpc = self._rpcs[call.method] = self._channel.unary_unary(call.method, *coding)
        return call.read(rpc(call.request, timeout=self._target.timeout, metadata=self._metadata))
