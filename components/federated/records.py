"""Arrays as Flower's records, and back."""

from __future__ import annotations

from typing import Any, cast

from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord

from components.federated.learner import Arrays

ARRAYS, CONFIG, METRICS, ABOUT = "arrays", "config", "metrics", "about"
"""Names of the records: a model, what is asked, what was measured, who answers."""
WEIGHT = "weight"
"""The metric by which answers are averaged."""


def packed(arrays: Arrays) -> ArrayRecord:
    """Return arrays as a record."""
    return ArrayRecord({name: Array(values) for name, values in arrays.items()})


def unpacked(record: ArrayRecord) -> Arrays:
    """Return a record's arrays. Raises ValueError where its bytes are no array of the shape they are said to be."""
    return {name: each.numpy() for name, each in record.items()}


def arrays_of(message: Message) -> Arrays:
    """Return the model of a message."""
    return unpacked(message.content.array_records[ARRAYS])


def config_of(message: Message) -> dict[str, Any]:
    """Return what a message asks."""
    return dict(message.content.config_records.get(CONFIG, ConfigRecord()))


def metrics_of(message: Message) -> dict[str, float]:
    """Return what a client measured."""
    record = message.content.metric_records.get(METRICS, MetricRecord())
    return {name: float(cast(float, value)) for name, value in record.items() if not isinstance(value, list)}


def size(message: Message) -> int:
    """Return the bytes of a message's records."""
    return sum(record.count_bytes() for record in message.content.values()) if message.has_content() else 0
