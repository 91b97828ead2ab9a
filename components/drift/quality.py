"""How good the forecasts were of which the truth has arrived."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl

from components.drift.folder import existing, served
from fleetml.component import Artifact
from fleetml.data.schema import aside
from fleetml.errors import InvalidParameter
from fleetml.serving import truth

UNKNOWN = -1.0
"""The accuracy where too few forecasts could be judged: a number, as parameters hold no NaN."""


def quality(
    judged: Artifact, metrics: Artifact, serving_dir: str, model_name: str, days: int, min_forecasts: int
) -> dict[str, Any]:
    """Return accuracy = 1 - WAPE, at least 0, of the served version over the last `days` of origins, and write the errors by hour.

    `judged` holds a row an hour of origins: hour, forecasts, error, actual (`fleetml.serving.truth.errors`). The days end with
    the latest origin asked in that time, so that replayed traffic is judged too. With fewer than `min_forecasts`
    forecasts that have truth, or none of them about any traffic at all, the accuracy is `UNKNOWN`. Raises InvalidParameter for a
    model that is not served.
    """
    if not serving_dir or days <= 0 or min_forecasts < 1:
        raise InvalidParameter(
            "quality needs serving_dir, accuracy_days above 0 and min_forecasts from 1, got "
            f"{serving_dir!r}, {days} and {min_forecasts}; mend them"
        )
    root = existing(serving_dir)
    found = _errors(root, model_name, served(serving_dir, model_name).version, timedelta(days=days))
    wape = truth.wape(found)
    by_hour = found.group_by(pl.col("origin").dt.truncate("1h").alias("hour")).agg(
        pl.len().alias("forecasts"), pl.col("error").sum(), pl.col("actual").sum()
    )
    with aside(judged.path) as temporary:
        by_hour.sort("hour").write_parquet(temporary)
    known = wape is not None and found.height >= min_forecasts
    accuracy = max(0.0, 1.0 - wape) if known and wape is not None else UNKNOWN
    metrics.log(
        accuracy=round(accuracy, 4) if known else "unknown", forecasts=found.height, vms=found["vm_id"].n_unique()
    )
    return {"accuracy": accuracy}


def _errors(root: Path, model: str, version: str, span: timedelta) -> pl.DataFrame:
    log = truth.logged(root, model, datetime.now(UTC) - span)
    log = log.filter(pl.col("model_version") == version, pl.col("failure") == "")
    if log.is_empty():
        return truth.errors(log, truth.SCHEMA.to_frame())
    since: datetime = log["origin"].max() - span  # type: ignore[operator, assignment]
    log = log.filter(pl.col("origin") >= since)
    return truth.errors(log, truth.read(root, model, since))
