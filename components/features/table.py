"""The feature table: five-minute means of a canonical table (docs/adr/0002)."""

from pathlib import Path

import polars as pl

from fleetml.data import schema

EVERY = f"{schema.STEP_SECONDS}s"
PLACES = ("host", "region")


def feature_table(canonical: pl.LazyFrame) -> pl.DataFrame:
    """Return vm_id, event_timestamp [us, UTC], the six features, host and region, sorted; a gap is a missing row.

    Each feature is made of the means of its columns in the bin [t, t + 5 min), stamped with t.
    """
    return (
        canonical.group_by("vm_id", pl.col("timestamp").dt.truncate(EVERY).alias("event_timestamp"))
        .agg(*(pl.col(name).mean() for name in schema.METRICS), *(pl.col(name).max() for name in PLACES))
        .select(
            "vm_id",
            "event_timestamp",
            cpu_usage=pl.col("cpu_usage"),
            memory_usage=_share("memory_usage", "memory_capacity"),
            disk_io=_sum("disk_read", "disk_write"),
            network_io=_sum("network_received", "network_sent"),
            latency=pl.col("latency"),
            error_rate=pl.col("error_rate"),
            **{name: pl.col(name) for name in PLACES},
        )
        .sort("vm_id", "event_timestamp")
        .collect(engine="streaming")
    )


def grouped(table: pl.DataFrame) -> dict[str, pl.DataFrame]:
    """Return the tables of the views host_metrics and region_metrics: means over the VMs, and their number, `vms`.

    A view none of whose VMs says where it is has no table.
    """
    found = {}
    for place in PLACES:
        known = table.filter(pl.col(place).is_not_null())
        if len(known):
            means = (pl.col(name).mean() for name in schema.FEATURES)
            of_place = known.group_by(place, "event_timestamp").agg(*means, vms=pl.len().cast(pl.Int64))
            found[f"{place}_metrics"] = of_place.sort(place, "event_timestamp")
    return found


def _sum(first: str, second: str) -> pl.Expr:
    """One direction alone is better than none; without both there is no value."""
    total = pl.col(first).fill_null(0.0) + pl.col(second).fill_null(0.0)
    return pl.when(pl.col(first).is_not_null() | pl.col(second).is_not_null()).then(total)


def _share(used: str, capacity: str) -> pl.Expr:
    return pl.when(pl.col(capacity) > 0).then(100.0 * pl.col(used) / pl.col(capacity))


def write(table: pl.DataFrame, path: Path) -> None:
    """Write the table as Parquet that Feast reads: microseconds, UTC."""
    with schema.aside(path) as temporary:
        table.write_parquet(temporary, row_group_size=256 * 1024)
