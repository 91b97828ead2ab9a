"""For whom a forecaster is good: its errors on the held-out windows by group of VMs."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from fleetml.learn import windows


@dataclass(frozen=True)
class Slice:
    """Mean MASE of the VMs of a slice, that of seasonal naive on them, and the share of them for which that is lower."""

    name: str
    vms: int
    mase: float
    naive: float
    worse: float


def of(judged: Mapping[str, Any], chosen: str, train: Path, data: Path) -> list[Slice]:
    """Return all VMs, the quarters by size (mean of the target in training), and the regions where `data` names them."""
    candidates = judged["candidates"]
    if chosen not in candidates or "horizon" not in judged or "seasonal_naive" not in candidates:
        return []
    mine, naive = (candidates[name].get("per_vm") or {} for name in (chosen, "seasonal_naive"))
    rows = [
        (vm, mine[vm]["mase"], naive[vm]["mase"])
        for vm in sorted(set(mine) & set(naive))
        if mine[vm]["mase"] is not None and naive[vm]["mase"] is not None
    ]
    if not rows:
        return []
    table = pl.DataFrame(rows, schema=["vm_id", "mase", "naive"], orient="row").with_columns(pl.lit("all").alias("all"))
    table = table.join(_sizes(train), on="vm_id", how="left").join(_regions(data), on="vm_id", how="left")
    return [found for column in ("all", "size", "region") for found in _by(table, column)]


def _by(table: pl.DataFrame, column: str) -> list[Slice]:
    grouped = (
        table.drop_nulls(column)
        .group_by(column)
        .agg(
            pl.len().alias("vms"),
            pl.col("mase", "naive").mean(),
            (pl.col("mase") > pl.col("naive")).mean().alias("worse"),
        )
    )
    return [Slice(*row) for row in grouped.sort(column).select(column, "vms", "mase", "naive", "worse").rows()]


def _sizes(train: Path) -> pl.DataFrame:
    """Return vm_id and size, the quarter of the fleet a VM is in by the mean of its histories."""
    made = windows.load(train)
    level = pl.DataFrame({"vm_id": made.vm_id.tolist(), "level": made.history.mean(axis=1).tolist()})
    by_vm = level.group_by("vm_id").agg(pl.col("level").mean())
    quarter = ((pl.col("level").rank("ordinal") - 1) * 4 // pl.len() + 1).cast(pl.String)
    return by_vm.select("vm_id", size="size: quarter " + quarter + " of 4")


def _regions(data: Path) -> pl.DataFrame:
    scanned = pl.scan_parquet(data)
    if not {"vm_id", "region"} <= set(scanned.collect_schema().names()):
        return pl.DataFrame(schema={"vm_id": pl.String(), "region": pl.String()})
    known = scanned.group_by("vm_id").agg(pl.col("region").drop_nulls().first())
    return known.select("vm_id", region="region: " + pl.col("region")).collect()
