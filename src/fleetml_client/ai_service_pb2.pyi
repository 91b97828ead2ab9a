import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class BandwidthRequest(_message.Message):
    __slots__ = ("vm_id", "historical_metrics", "horizon_minutes", "as_of")
    VM_ID_FIELD_NUMBER: _ClassVar[int]
    HISTORICAL_METRICS_FIELD_NUMBER: _ClassVar[int]
    HORIZON_MINUTES_FIELD_NUMBER: _ClassVar[int]
    AS_OF_FIELD_NUMBER: _ClassVar[int]
    vm_id: str
    historical_metrics: _containers.RepeatedScalarFieldContainer[float]
    horizon_minutes: int
    as_of: _timestamp_pb2.Timestamp
    def __init__(self, vm_id: _Optional[str] = ..., historical_metrics: _Optional[_Iterable[float]] = ..., horizon_minutes: _Optional[int] = ..., as_of: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class BandwidthResponse(_message.Message):
    __slots__ = ("predictions", "confidence", "model_version")
    PREDICTIONS_FIELD_NUMBER: _ClassVar[int]
    CONFIDENCE_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    predictions: _containers.RepeatedScalarFieldContainer[float]
    confidence: float
    model_version: str
    def __init__(self, predictions: _Optional[_Iterable[float]] = ..., confidence: _Optional[float] = ..., model_version: _Optional[str] = ...) -> None: ...

class PlacementRequest(_message.Message):
    __slots__ = ("workload_id", "requirements", "available_nodes")
    class RequirementsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    WORKLOAD_ID_FIELD_NUMBER: _ClassVar[int]
    REQUIREMENTS_FIELD_NUMBER: _ClassVar[int]
    AVAILABLE_NODES_FIELD_NUMBER: _ClassVar[int]
    workload_id: str
    requirements: _containers.ScalarMap[str, float]
    available_nodes: _containers.RepeatedCompositeFieldContainer[NodeInfo]
    def __init__(self, workload_id: _Optional[str] = ..., requirements: _Optional[_Mapping[str, float]] = ..., available_nodes: _Optional[_Iterable[_Union[NodeInfo, _Mapping]]] = ...) -> None: ...

class NodeInfo(_message.Message):
    __slots__ = ("node_id", "cpu_available", "memory_available", "gpu_milli_available", "gpu_model")
    NODE_ID_FIELD_NUMBER: _ClassVar[int]
    CPU_AVAILABLE_FIELD_NUMBER: _ClassVar[int]
    MEMORY_AVAILABLE_FIELD_NUMBER: _ClassVar[int]
    GPU_MILLI_AVAILABLE_FIELD_NUMBER: _ClassVar[int]
    GPU_MODEL_FIELD_NUMBER: _ClassVar[int]
    node_id: str
    cpu_available: float
    memory_available: float
    gpu_milli_available: _containers.RepeatedScalarFieldContainer[float]
    gpu_model: str
    def __init__(self, node_id: _Optional[str] = ..., cpu_available: _Optional[float] = ..., memory_available: _Optional[float] = ..., gpu_milli_available: _Optional[_Iterable[float]] = ..., gpu_model: _Optional[str] = ...) -> None: ...

class PlacementResponse(_message.Message):
    __slots__ = ("candidates", "overall_confidence", "model_version")
    CANDIDATES_FIELD_NUMBER: _ClassVar[int]
    OVERALL_CONFIDENCE_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    candidates: _containers.RepeatedCompositeFieldContainer[PlacementCandidate]
    overall_confidence: float
    model_version: str
    def __init__(self, candidates: _Optional[_Iterable[_Union[PlacementCandidate, _Mapping]]] = ..., overall_confidence: _Optional[float] = ..., model_version: _Optional[str] = ...) -> None: ...

class PlacementCandidate(_message.Message):
    __slots__ = ("node_id", "score", "reasoning")
    NODE_ID_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    REASONING_FIELD_NUMBER: _ClassVar[int]
    node_id: str
    score: float
    reasoning: str
    def __init__(self, node_id: _Optional[str] = ..., score: _Optional[float] = ..., reasoning: _Optional[str] = ...) -> None: ...

class AnomalyRequest(_message.Message):
    __slots__ = ("vm_id", "current_metrics")
    VM_ID_FIELD_NUMBER: _ClassVar[int]
    CURRENT_METRICS_FIELD_NUMBER: _ClassVar[int]
    vm_id: str
    current_metrics: VMMetrics
    def __init__(self, vm_id: _Optional[str] = ..., current_metrics: _Optional[_Union[VMMetrics, _Mapping]] = ...) -> None: ...

class VMMetrics(_message.Message):
    __slots__ = ("cpu", "memory", "disk_io", "network_io", "latency", "error_rate")
    CPU_FIELD_NUMBER: _ClassVar[int]
    MEMORY_FIELD_NUMBER: _ClassVar[int]
    DISK_IO_FIELD_NUMBER: _ClassVar[int]
    NETWORK_IO_FIELD_NUMBER: _ClassVar[int]
    LATENCY_FIELD_NUMBER: _ClassVar[int]
    ERROR_RATE_FIELD_NUMBER: _ClassVar[int]
    cpu: float
    memory: float
    disk_io: float
    network_io: float
    latency: float
    error_rate: float
    def __init__(self, cpu: _Optional[float] = ..., memory: _Optional[float] = ..., disk_io: _Optional[float] = ..., network_io: _Optional[float] = ..., latency: _Optional[float] = ..., error_rate: _Optional[float] = ...) -> None: ...

class AnomalyResponse(_message.Message):
    __slots__ = ("is_anomaly", "score", "anomaly_type", "severity", "model_version", "contributions")
    class ContributionsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    IS_ANOMALY_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    ANOMALY_TYPE_FIELD_NUMBER: _ClassVar[int]
    SEVERITY_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    CONTRIBUTIONS_FIELD_NUMBER: _ClassVar[int]
    is_anomaly: bool
    score: float
    anomaly_type: str
    severity: str
    model_version: str
    contributions: _containers.ScalarMap[str, float]
    def __init__(self, is_anomaly: _Optional[bool] = ..., score: _Optional[float] = ..., anomaly_type: _Optional[str] = ..., severity: _Optional[str] = ..., model_version: _Optional[str] = ..., contributions: _Optional[_Mapping[str, float]] = ...) -> None: ...

class ForecastRequest(_message.Message):
    __slots__ = ("model", "vm_id", "history", "horizon_minutes", "covariates", "as_of")
    class CovariatesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VM_ID_FIELD_NUMBER: _ClassVar[int]
    HISTORY_FIELD_NUMBER: _ClassVar[int]
    HORIZON_MINUTES_FIELD_NUMBER: _ClassVar[int]
    COVARIATES_FIELD_NUMBER: _ClassVar[int]
    AS_OF_FIELD_NUMBER: _ClassVar[int]
    model: str
    vm_id: str
    history: _containers.RepeatedScalarFieldContainer[float]
    horizon_minutes: int
    covariates: _containers.ScalarMap[str, float]
    as_of: _timestamp_pb2.Timestamp
    def __init__(self, model: _Optional[str] = ..., vm_id: _Optional[str] = ..., history: _Optional[_Iterable[float]] = ..., horizon_minutes: _Optional[int] = ..., covariates: _Optional[_Mapping[str, float]] = ..., as_of: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class BandwidthBatchRequest(_message.Message):
    __slots__ = ("requests",)
    REQUESTS_FIELD_NUMBER: _ClassVar[int]
    requests: _containers.RepeatedCompositeFieldContainer[BandwidthRequest]
    def __init__(self, requests: _Optional[_Iterable[_Union[BandwidthRequest, _Mapping]]] = ...) -> None: ...

class BandwidthBatchResponse(_message.Message):
    __slots__ = ("responses",)
    RESPONSES_FIELD_NUMBER: _ClassVar[int]
    responses: _containers.RepeatedCompositeFieldContainer[BandwidthResponse]
    def __init__(self, responses: _Optional[_Iterable[_Union[BandwidthResponse, _Mapping]]] = ...) -> None: ...

class PlacementBatchRequest(_message.Message):
    __slots__ = ("requests",)
    REQUESTS_FIELD_NUMBER: _ClassVar[int]
    requests: _containers.RepeatedCompositeFieldContainer[PlacementRequest]
    def __init__(self, requests: _Optional[_Iterable[_Union[PlacementRequest, _Mapping]]] = ...) -> None: ...

class PlacementBatchResponse(_message.Message):
    __slots__ = ("responses",)
    RESPONSES_FIELD_NUMBER: _ClassVar[int]
    responses: _containers.RepeatedCompositeFieldContainer[PlacementResponse]
    def __init__(self, responses: _Optional[_Iterable[_Union[PlacementResponse, _Mapping]]] = ...) -> None: ...

class AnomalyBatchRequest(_message.Message):
    __slots__ = ("requests",)
    REQUESTS_FIELD_NUMBER: _ClassVar[int]
    requests: _containers.RepeatedCompositeFieldContainer[AnomalyRequest]
    def __init__(self, requests: _Optional[_Iterable[_Union[AnomalyRequest, _Mapping]]] = ...) -> None: ...

class AnomalyBatchResponse(_message.Message):
    __slots__ = ("responses",)
    RESPONSES_FIELD_NUMBER: _ClassVar[int]
    responses: _containers.RepeatedCompositeFieldContainer[AnomalyResponse]
    def __init__(self, responses: _Optional[_Iterable[_Union[AnomalyResponse, _Mapping]]] = ...) -> None: ...

class ForecastResponse(_message.Message):
    __slots__ = ("forecast", "confidence", "model_version", "step_seconds")
    FORECAST_FIELD_NUMBER: _ClassVar[int]
    CONFIDENCE_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    STEP_SECONDS_FIELD_NUMBER: _ClassVar[int]
    forecast: _containers.RepeatedScalarFieldContainer[float]
    confidence: float
    model_version: str
    step_seconds: int
    def __init__(self, forecast: _Optional[_Iterable[float]] = ..., confidence: _Optional[float] = ..., model_version: _Optional[str] = ..., step_seconds: _Optional[int] = ...) -> None: ...
