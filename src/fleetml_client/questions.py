"""What the server can be asked. Rules and units stand in ``ai_service.proto``; the server checks them.

Sequences of numbers may be lists, tuples or NumPy arrays, which this package does not need.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from fleetml_client import ai_service_pb2 as messages
from fleetml_client.errors import InvalidQuestion


@dataclass(frozen=True)
class BandwidthQuestion:
    """`history` in kB/s, one value a step of the model, oldest first, ends at `as_of` (None: now)."""

    vm_id: str
    history: Iterable[float]
    horizon_minutes: int
    as_of: datetime | None = None


@dataclass(frozen=True)
class Node:
    """A node as it is now: cores, MiB, what each of its GPUs has to give in thousandths."""

    node_id: str
    cpu_available: float = 0.0
    memory_available: float = 0.0
    gpu_milli_available: Iterable[float] = ()
    gpu_model: str = ""


@dataclass(frozen=True)
class PlacementQuestion:
    """`requirements`: cpu [cores], memory [MiB], gpu [how many], gpu_milli, gpu_model.<name>."""

    workload_id: str
    requirements: Mapping[str, float]
    nodes: Iterable[Node]


@dataclass(frozen=True)
class AnomalyQuestion:
    """`metrics` by the names of VMMetrics; one that is not given is absent."""

    vm_id: str
    metrics: Mapping[str, float]


def bandwidth(asked: BandwidthQuestion) -> messages.BandwidthRequest:
    """Raises InvalidQuestion for what is no number, text or time."""
    try:
        return messages.BandwidthRequest(
            vm_id=asked.vm_id,
            historical_metrics=_numbers(asked.history),
            horizon_minutes=asked.horizon_minutes,
            as_of=asked.as_of,
        )
    except (TypeError, ValueError) as error:
        raise _unfit("a forecast of bandwidth", error) from error


def forecast(
    model: str, asked: BandwidthQuestion, covariates: Mapping[str, float] | None = None
) -> messages.ForecastRequest:
    """Raises InvalidQuestion for what is no number, text or time."""
    try:
        return messages.ForecastRequest(
            model=model,
            vm_id=asked.vm_id,
            history=_numbers(asked.history),
            horizon_minutes=asked.horizon_minutes,
            covariates=covariates or {},
            as_of=asked.as_of,
        )
    except (TypeError, ValueError) as error:
        raise _unfit("a forecast", error) from error


def placement(asked: PlacementQuestion) -> messages.PlacementRequest:
    """Raises InvalidQuestion for what is no number or text."""
    try:
        nodes = [
            messages.NodeInfo(
                node_id=node.node_id,
                cpu_available=node.cpu_available,
                memory_available=node.memory_available,
                gpu_milli_available=_numbers(node.gpu_milli_available),
                gpu_model=node.gpu_model,
            )
            for node in asked.nodes
        ]
        return messages.PlacementRequest(
            workload_id=asked.workload_id, requirements=asked.requirements, available_nodes=nodes
        )
    except (TypeError, ValueError) as error:
        raise _unfit("a placement", error) from error


def anomaly(asked: AnomalyQuestion) -> messages.AnomalyRequest:
    """Raises InvalidQuestion for a metric that does not exist, and for what is no number or text."""
    try:
        given = {**dict.fromkeys(messages.VMMetrics.DESCRIPTOR.fields_by_name, math.nan), **asked.metrics}
        return messages.AnomalyRequest(vm_id=asked.vm_id, current_metrics=messages.VMMetrics(**given))
    except (TypeError, ValueError) as error:
        raise _unfit("anomalies", error) from error


def _numbers(given: Iterable[float]) -> Iterable[float]:
    """An array's own list of floats is made ten times faster than one element after the other."""
    listed = getattr(given, "tolist", None)
    return listed() if callable(listed) else given


def _unfit(what: str, error: Exception) -> InvalidQuestion:
    return InvalidQuestion(f"a question about {what} must have the fields of ai_service.proto, got {error}; correct it")
