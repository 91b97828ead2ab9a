"""Rows of the six metrics of a VM at one time: what anomaly models learn from and are judged on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from fleetml.atomic import aside
from fleetml.errors import InvalidData, InvalidParameter, nearest

Numbers = npt.NDArray[np.float32]
METRICS = ("cpu", "memory", "disk_io", "network_io", "latency", "error_rate")
"""In the order of the graph's input, the contract's names; units: those of the feature table (docs/adr/0002)."""
FEATURES = ("cpu_usage", "memory_usage", "disk_io", "network_io", "latency", "error_rate")
"""The features of the feature table that they are, in the same order."""
ROWS_PER_WEEK = 7 * 288
TIME = "time"


@dataclass(frozen=True)
class Samples:
    """vm_id [N] str and values [N, 6], NaN: absent; time [N] of each in microseconds (UTC), None: unknown. At least one row."""

    vm_id: npt.NDArray[np.str_]
    values: Numbers
    time: npt.NDArray[np.datetime64] | None = None

    def __len__(self) -> int:
        return len(self.vm_id)

    def save(self, path: Path) -> None:
        """Write them as Parquet, aside and renamed."""
        columns = {"vm_id": self.vm_id.tolist(), **dict(zip(METRICS, self.values.T, strict=True))}
        if self.time is not None:
            columns[TIME] = pa.array(self.time, pa.timestamp("us")).cast(pa.timestamp("us", "UTC"))
        with aside(path) as temporary:
            pq.write_table(pa.table(columns), temporary, compression="zstd")


def feature(metric: str) -> str:
    """Return the feature that a metric is. Raises InvalidParameter for one that is unknown."""
    if metric not in METRICS:
        told = nearest(metric, METRICS) or "; correct it"
        raise InvalidParameter(f"metric must be empty or one of {', '.join(METRICS)}, got {metric!r}{told}")
    return FEATURES[METRICS.index(metric)]


def load(path: Path) -> Samples:
    """Return what `Samples.save` wrote. Raises InvalidData for another file, or one without rows."""
    try:
        table = pq.read_table(path)
        values = np.stack([table[name].to_numpy(zero_copy_only=False) for name in METRICS], axis=1)
        vms = np.array(table["vm_id"].to_pylist(), dtype=str)
        known = TIME in table.column_names
        time = table[TIME].cast(pa.timestamp("us")).to_numpy().astype("datetime64[us]") if known else None
    except (OSError, KeyError, ValueError) as error:
        raise InvalidData(
            f"samples of metrics must be a Parquet file written by the features stage, got {path} ({error}); run it again"
        ) from error
    if not len(vms):
        raise InvalidData(f"{path} must hold samples of metrics, it has no row; give more days")
    return Samples(vms, values.astype(np.float32), time)
