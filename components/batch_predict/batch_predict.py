"""Batch prediction: one forecast for each VM, from its latest window, as a table."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fleetml.component import Artifact
from fleetml.data import schema
from fleetml.learn import windows
from fleetml.learn.forecaster import Forecaster
from fleetml.learn.windows import Floats, Windows


def batch_predict(model: Artifact, test: Artifact, version: str, predictions: Artifact, metrics: Artifact) -> None:
    """Write a Parquet row for each VM and step: vm_id, origin, step (from 1), timestamp, forecast, model_version.

    Raises InvalidGraph when the model was trained on other windows than these.
    """
    latest = latest_windows(windows.load(test.path))
    forecast = Forecaster(model.path).forecast(latest)
    with schema.aside(predictions.path) as temporary:
        pq.write_table(table(latest, forecast, version), temporary, compression="zstd")
    horizon = latest.meta.horizon
    metrics.log(vms=len(latest), rows=len(latest) * horizon, horizon_minutes=horizon * latest.meta.step_seconds // 60)
    predictions.metadata.update(target=latest.meta.target, model_version=version)


def latest_windows(all_windows: Windows) -> Windows:
    """Return the window with the latest origin of each VM, in the order of vm_id."""
    order = np.lexsort((all_windows.origin, all_windows.vm_id))
    names = all_windows.vm_id[order]
    return all_windows[order[np.append(names[1:] != names[:-1], True)[: len(names)]]]


def table(of: Windows, forecast: Floats, version: str) -> pa.Table:
    """Return forecasts [N, horizon] as N * horizon rows; timestamps are UTC, the forecast in the target's unit."""
    horizon = of.meta.horizon
    steps = np.tile(np.arange(1, horizon + 1, dtype=np.int32), len(of))
    origins = np.repeat(of.origin.astype("datetime64[us]"), horizon)
    times = origins + steps * np.timedelta64(of.meta.step_seconds, "s")
    instant = pa.timestamp("us", "UTC")
    return pa.table(
        {
            "vm_id": pa.array(np.repeat(of.vm_id, horizon).tolist(), pa.string()),
            "origin": pa.array(origins, pa.timestamp("us")).cast(instant),
            "step": pa.array(steps),
            "timestamp": pa.array(times.astype("datetime64[us]"), pa.timestamp("us")).cast(instant),
            "forecast": pa.array(forecast.ravel().astype(np.float64)),
            "model_version": pa.array([version] * len(steps), pa.string()),
        }
    )
