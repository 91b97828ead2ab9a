"""From the canonical table to rows of the six metrics, split by time."""

import numpy as np
import polars as pl

from components.features.table import feature_table
from fleetml.component import Artifact
from fleetml.errors import InvalidData, InvalidParameter
from fleetml.learn.anomaly.samples import FEATURES, Samples

SPLITS = {"train": (0.0, 0.7), "val": (0.7, 0.85), "test": (0.85, 1.0)}
"""Shares of the time covered."""
LEAST = 50


def samples(
    data: Artifact, train: Artifact, val: Artifact, test: Artifact, metrics: Artifact, max_rows: int, seed: int
) -> None:
    """Write the rows, at most `max_rows` to train and half as many in the other splits, drawn at random.

    Rows without any metric are left out. Raises InvalidParameter for less than `LEAST` rows or a seed below 0,
    InvalidData for a split with less.
    """
    for name, value, least in (("max_rows", max_rows, 2 * LEAST), ("seed", seed, 0)):
        if value < least:
            raise InvalidParameter(f"{name} must be at least {least}, got {value}; raise it")
    table = feature_table(pl.scan_parquet(data.path)).filter(pl.any_horizontal(pl.col(FEATURES).is_not_null()))
    drawn = np.random.default_rng(seed)
    made = {}
    for artifact in (train, val, test):
        made[artifact.name] = _split(table, artifact.name, max_rows if artifact is train else max_rows // 2, drawn)
        made[artifact.name].save(artifact.path)
    known = [name for name in FEATURES if table[name].null_count() < len(table)]
    rows = {f"{name}_rows": len(found) for name, found in made.items()}
    metrics.log(**rows, vms=table["vm_id"].n_unique(), metrics=", ".join(known))


def _split(table: pl.DataFrame, name: str, most: int, drawn: np.random.Generator) -> Samples:
    time = table["event_timestamp"].dt.timestamp("us").to_numpy()
    if not len(time):
        raise InvalidData("samples need rows with at least one of the six metrics, the data have none; give other data")
    low, high = (time.min() + share * (time.max() + 1 - time.min()) for share in SPLITS[name])
    places = np.flatnonzero((time >= low) & (time < high))
    if len(places) < LEAST:
        raise InvalidData(
            f"split {name!r} needs at least {LEAST} rows with a metric, got {len(places)}; give more days or VMs"
        )
    return of(table[np.sort(drawn.permutation(places)[:most])])


def of(table: pl.DataFrame) -> Samples:
    """Return the rows of a feature table."""
    at = table["event_timestamp"].dt.replace_time_zone(None).to_numpy().astype("datetime64[us]")
    return Samples(table["vm_id"].to_numpy().astype(str), table.select(FEATURES).to_numpy().astype(np.float32), at)
