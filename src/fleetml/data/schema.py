"""The canonical table of VM metrics (docs/adr/0002-forecasting-contract.md), defined once.

One row is one sample of one VM. The table is sorted by (vm_id, timestamp) and holds no (vm_id, timestamp)
twice; a metric that a source does not have is a column of nulls. Units stand in the Parquet field metadata.
"""

from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pyarrow as pa

from fleetml.atomic import aside as aside  # what stages write with
from fleetml.data import STEP_SECONDS as STEP_SECONDS
from fleetml.errors import InvalidParameter, nearest

VERSION = "canonical/1"


@dataclass(frozen=True)
class Column:
    """A column of the canonical table: its types, its unit and the largest value that can be true.

    `limit` is in the column's unit; it is far above what a machine does, so that what breaks it is a wrong unit
    or a broken counter, not a busy VM. Metrics are never negative.
    """

    name: str
    arrow: pa.DataType
    polars: pl.DataType
    unit: str
    meaning: str
    limit: float | None = None

    @property
    def is_metric(self) -> bool:
        """Whether the column is a measured number."""
        return pa.types.is_floating(self.arrow)

    @property
    def field(self) -> pa.Field:
        """The Arrow field with unit and meaning in its metadata."""
        return pa.field(self.name, self.arrow, self.name not in KEY, {"unit": self.unit, "meaning": self.meaning})


KEY = ("vm_id", "timestamp")


def _metric(name: str, unit: str, meaning: str, limit: float) -> Column:
    return Column(name, pa.float64(), pl.Float64(), unit, meaning, limit)


COLUMNS = (
    Column("vm_id", pa.large_string(), pl.String(), "", "name of the VM, stable over time"),
    Column("timestamp", pa.timestamp("us", "UTC"), pl.Datetime("us", "UTC"), "UTC", "time of the sample"),
    _metric("cpu_cores", "1", "virtual CPUs provisioned", 1e5),
    _metric("cpu_capacity", "MHz", "CPU provisioned; 0: the VM is off", 1e9),
    _metric("cpu_usage", "%", "CPU used, share of capacity; may exceed 100", 1000.0),
    _metric("memory_capacity", "kB", "memory provisioned", 1e12),
    _metric("memory_usage", "kB", "memory actively used", 1e12),
    _metric("disk_read", "kB/s", "disk read throughput", 1e9),
    _metric("disk_write", "kB/s", "disk write throughput", 1e9),
    _metric("network_received", "kB/s", "network received throughput", 1e9),
    _metric("network_sent", "kB/s", "network sent throughput", 1e9),
    _metric("latency", "ms", "response time of the service on the VM", 1e8),
    _metric("error_rate", "1/s", "failed requests", 1e9),
    Column("region", pa.large_string(), pl.String(), "", "where the VM runs"),
    Column("host", pa.large_string(), pl.String(), "", "the machine the VM runs on"),
)
NAMES = tuple(column.name for column in COLUMNS)
METRICS = tuple(column.name for column in COLUMNS if column.is_metric)
UNITS = {column.name: column.unit for column in COLUMNS}
ARROW = pa.schema([column.field for column in COLUMNS], metadata={"fleetml.schema": VERSION})
POLARS = pl.Schema({column.name: column.polars for column in COLUMNS})

# The features of the feature table and the canonical columns each is made of.
FEATURES = {
    "cpu_usage": ("cpu_usage",),
    "memory_usage": ("memory_usage", "memory_capacity"),
    "disk_io": ("disk_read", "disk_write"),
    "network_io": ("network_received", "network_sent"),
    "latency": ("latency",),
    "error_rate": ("error_rate",),
}
TARGETS = {"bandwidth": "network_io", "cpu": "cpu_usage", **{name: name for name in FEATURES}}


def target_columns(target: str, place: str = "target") -> tuple[str, ...]:
    """Return the canonical columns that make up a forecast target, which the user gave at `place`.

    Raises InvalidParameter for a target that no feature provides.
    """
    if target not in TARGETS:
        told = nearest(target, TARGETS) or f"; set {place} to one of them"
        raise InvalidParameter(f"{place} must be one of {', '.join(TARGETS)}; got {target!r}{told}")
    return FEATURES[TARGETS[target]]


def conform(frame: pl.LazyFrame) -> pl.LazyFrame:
    """Return exactly the canonical columns in order: those missing as nulls, the others cast."""
    present = set(frame.collect_schema().names())
    return frame.select(
        (pl.col(name) if name in present else pl.lit(None)).cast(dtype).alias(name) for name, dtype in POLARS.items()
    )


def write(frame: pl.LazyFrame | pl.DataFrame, path: Path) -> None:
    """Write a canonical table as Parquet with units in the field metadata, aside and renamed, streaming."""
    with aside(path) as temporary:
        conform(frame.lazy()).sink_parquet(temporary, arrow_schema=ARROW, row_group_size=256 * 1024)
