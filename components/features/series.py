"""From the canonical table to the six metrics of VMs in time, without gaps, split by time."""

import numpy as np
import polars as pl

from components.features import samples
from components.features.table import EVERY, feature_table
from fleetml.component import Artifact
from fleetml.data import schema
from fleetml.errors import InvalidData, InvalidParameter, nearest
from fleetml.learn.anomaly.samples import FEATURES, feature

TRAIN = 0.7
"""Share of the time covered that is fitted on; the rest is the test, whose first half is the history of its second."""
TIME = "event_timestamp"


def series(
    data: Artifact, train: Artifact, test: Artifact, metrics: Artifact, vm: str, metric: str, max_rows: int, seed: int
) -> None:
    """Write the steps of five minutes of `vm`, "": of whole VMs drawn at random as long as they have at most `max_rows`.

    A gap holds what was before it. With a `metric` the others are absent. The metadata say the `vm`. Raises InvalidParameter for a VM or metric that is
    unknown, no rows or a seed below 0, InvalidData for VMs without metrics.
    """
    for name, value, least in (("max_rows", max_rows, 1), ("seed", seed, 0)):
        if value < least:
            raise InvalidParameter(f"{name} must be at least {least}, got {value}; raise it")
    table = feature_table(pl.scan_parquet(data.path)).select("vm_id", TIME, *_wanted(metric))
    table = table.filter(pl.any_horizontal(pl.col(FEATURES).is_not_null()))
    dense = _dense(table.filter(pl.col("vm_id").is_in(_chosen(table, vm, max_rows, seed))))
    time = dense[TIME].dt.timestamp("us").to_numpy()
    before = time < time.min() + TRAIN * (time.max() + 1 - time.min())
    for artifact, part in ((train, dense.filter(before)), (test, dense.filter(~before))):
        samples.of(part).save(artifact.path)
        artifact.metadata["vm"] = vm
        metrics.log(**{f"{artifact.name}_rows": len(part)})
    metrics.log(vms=dense["vm_id"].n_unique())


def _wanted(metric: str) -> list[pl.Expr]:
    """Return the six features, all but that of a `metric` as absent."""
    wanted = feature(metric) if metric else ""
    return [pl.col(name) if wanted in ("", name) else pl.lit(None, pl.Float64).alias(name) for name in FEATURES]


def _chosen(table: pl.DataFrame, vm: str, most: int, seed: int) -> list[str]:
    """Return the VMs to take, at least one."""
    lasted = pl.col(TIME).max() - pl.col(TIME).min()
    counted = table.group_by("vm_id").agg(steps=lasted.dt.total_seconds() // schema.STEP_SECONDS + 1).sort("vm_id")
    known = counted["vm_id"].to_list()
    if not known:
        raise InvalidData("a VM must have one of the six metrics, the data have none; give other data")
    if vm:
        if vm not in known:
            told = nearest(vm, known) or "; correct it"
            raise InvalidParameter(f"vm must be one of the data's {len(known)} with metrics, got {vm!r}{told}")
        return [vm]
    order = np.random.default_rng(seed).permutation(len(known))
    taken = int((np.cumsum(counted["steps"].to_numpy()[order]) <= most).sum())
    return [known[place] for place in order[: max(1, taken)]]


def _dense(table: pl.DataFrame) -> pl.DataFrame:
    """Return a row for each step between the first and the last of a VM; what is missing is what was before, or first."""
    steps = table.upsample(time_column=TIME, every=EVERY, group_by="vm_id", maintain_order=True)
    steps = steps.with_columns(pl.col("vm_id").forward_fill())
    return steps.with_columns(pl.col(FEATURES).forward_fill().backward_fill().over("vm_id")).sort("vm_id", TIME)
