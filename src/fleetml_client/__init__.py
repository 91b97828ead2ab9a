"""A client of FleetML's model server: forecasts, placements, anomalies, over gRPC; needs grpcio and protobuf, nothing else.

    with Client("models.example.com:50051", token=TOKEN, trusted=Path("ca.pem")) as client:
        print(client.predict_bandwidth("vm-1", history, horizon_minutes=60).values)

`AsyncClient` is the same with ``await``. Units and rules of what is asked: ``ai_service.proto``.
"""

from fleetml_client.aio import AsyncClient
from fleetml_client.answers import Anomaly, Candidate, Forecast, Placement
from fleetml_client.errors import (
    DeadlineExceeded,
    Denied,
    Error,
    Failed,
    InvalidQuestion,
    Overloaded,
    Unavailable,
    UnknownModel,
)
from fleetml_client.questions import AnomalyQuestion, BandwidthQuestion, Node, PlacementQuestion
from fleetml_client.sync import Client

__version__ = "0.1.0"
__all__ = [
    "Anomaly",
    "AnomalyQuestion",
    "AsyncClient",
    "BandwidthQuestion",
    "Candidate",
    "Client",
    "DeadlineExceeded",
    "Denied",
    "Error",
    "Failed",
    "Forecast",
    "InvalidQuestion",
    "Node",
    "Overloaded",
    "Placement",
    "PlacementQuestion",
    "Unavailable",
    "UnknownModel",
]
