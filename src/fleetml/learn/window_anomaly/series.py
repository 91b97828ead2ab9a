"""Samples of VMs in time (components.features.series) as one table a VM."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from fleetml.errors import InvalidData
from fleetml.learn.anomaly.samples import METRICS, Numbers, Samples


def of(rows: Samples) -> dict[str, Numbers]:
    """Return the metrics [N, 6] of each VM, the oldest first."""
    first = np.flatnonzero(np.append(True, rows.vm_id[1:] != rows.vm_id[:-1]))
    parts = np.split(rows.values, first[1:])
    return {str(rows.vm_id[place]): part for place, part in zip(first, parts, strict=True)}


def columns(series: Mapping[str, Numbers]) -> list[str]:
    """Return the metrics that every VM has in each step. Raises InvalidData where there is none."""
    whole = np.all([np.isfinite(rows).all(axis=0) for rows in series.values()], axis=0)
    found = [name for name, known in zip(METRICS, whole, strict=True) if known]
    if not found:
        raise InvalidData(
            f"the {len(series)} VMs must have a metric in common, there is none that all have; name one of them (vm)"
        )
    return found
