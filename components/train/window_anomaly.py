"""The window detector of one VM, fitted on its metrics in time."""

import numpy as np
import numpy.typing as npt
import polars as pl

from fleetml.component import Artifact
from fleetml.data import schema
from fleetml.errors import InvalidData, InvalidParameter, nearest
from fleetml.learn import scorer
from fleetml.learn.window_anomaly import mahalanobis
from fleetml.learn.window_anomaly.mahalanobis import Settings

HELD_OUT = 0.15
"""Share of the steps, the last, that is not fitted on: how often it would raise an alarm there."""
_WEEK = 7 * 86_400 // schema.STEP_SECONDS


def train_window_anomaly(
    data: Artifact, vm: str, steps: int, smooth: int, trim: float, model: Artifact, metrics: Artifact
) -> None:
    """Write the graph of a VM of the canonical table. Raises InvalidParameter for a VM or settings that cannot be, InvalidData."""
    for name, value, least, most in (("steps", steps, 1, 100), ("smooth", smooth, 1, 100), ("trim", trim, 0, 0.5)):
        if not least <= value <= most:
            raise InvalidParameter(f"{name} must be from {least} to {most}, got {value}; correct it")
    columns, rows = _series(data, vm)
    settings = Settings(steps=steps, smooth=smooth, trim=trim)
    fitted = int(len(rows) * (1 - HELD_OUT))
    detector = mahalanobis.fit([rows[:fitted]], settings)
    later = rows[fitted - settings.rows + 1 :]
    graph = detector.graph(columns).SerializeToString()
    alarms = float((detector.score(later) >= 1).mean()) * _WEEK
    scorer.publish(graph, model, vm=vm, validation_alarms_per_week=alarms)
    metrics.log(alarms_per_week=round(alarms, 2), rows=fitted, metrics=", ".join(columns), size_bytes=len(graph))


def _series(data: Artifact, vm: str) -> tuple[list[str], npt.NDArray[np.float64]]:
    """Return the names of the metrics that a VM has and their means each five minutes [N, C]; a gap holds what was before."""
    table = pl.scan_parquet(data.path)
    own = table.filter(pl.col("vm_id") == vm).collect()
    if not len(own):
        known = sorted(table.select("vm_id").unique().collect()["vm_id"])
        raise InvalidParameter(
            f"vm must be one of the data's {len(known)}, got {vm!r}{nearest(vm, known) or '; correct it'}"
        )
    columns = [name for name in schema.METRICS if own[name].null_count() < len(own)]
    if not columns:
        raise InvalidData(f"{vm} must have a metric, all of its {len(own)} rows have none; name another VM")
    every = f"{schema.STEP_SECONDS}s"
    means = (
        own.sort("timestamp").group_by_dynamic("timestamp", every=every).agg(pl.col(name).mean() for name in columns)
    )
    filled = means.upsample("timestamp", every=every).select(pl.col(columns).forward_fill().backward_fill())
    return columns, filled.to_numpy().astype(np.float64)
