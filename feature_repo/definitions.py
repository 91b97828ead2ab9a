"""What Feast knows of the fleet. The feature table is described in docs/adr/0002."""

from datetime import timedelta
from pathlib import Path
from typing import Any

from feast import Entity, FeatureService, FeatureView, Field, FileSource, ValueType
from feast.data_format import ParquetFormat
from feast.types import Float64

FEATURES = {
    "cpu_usage": "% of capacity",
    "memory_usage": "% of capacity",
    "disk_io": "kB/s, read + write",
    "network_io": "kB/s, received + sent",
    "latency": "ms",
    "error_rate": "1/s",
}
VIEW = "vm_metrics"
REFERENCES = tuple(f"{VIEW}:{name}" for name in FEATURES)
TTL = timedelta(hours=24)


def definitions(table: Path) -> list[Any]:
    """Return entity, view and service over the feature table (Parquet) at `table`."""
    vm = Entity(name="vm", join_keys=["vm_id"], value_type=ValueType.STRING, description="a virtual machine")
    view = FeatureView(
        name=VIEW,
        entities=[vm],
        ttl=TTL,
        schema=[Field(name=name, dtype=Float64, description=unit) for name, unit in FEATURES.items()],
        source=FileSource(
            name="vm_metrics_table",
            path=str(table),
            file_format=ParquetFormat(),  # DuckDB reads nothing without it
            timestamp_field="event_timestamp",
        ),
        online=True,
    )
    return [vm, view, FeatureService(name="forecaster", features=[view])]
