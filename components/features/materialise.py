"""The latest features of every VM, from the feature table into the online store that serving reads."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import polars as pl

from components.features.table import write
from fleetml.component import Artifact
from fleetml.errors import ConfigurationError


def materialise(features: Artifact, metrics: Artifact, store: str) -> None:
    """Apply the definitions and materialise the last TTL of the table into the store in the folder `store`.

    SQLite keeps readers apart from the writer, so a server may read meanwhile. Raises ConfigurationError without a folder.
    """
    if not store:
        raise ConfigurationError("materialise needs the folder of the feature store, got ''; give store=…")
    from feature_repo.definitions import TTL, definitions
    from feature_repo.store import open_store

    folder = Path(store)
    table = pl.read_parquet(features.path)
    end = latest(table)
    recent = table.filter(pl.col("event_timestamp") > end - TTL)
    folder.mkdir(parents=True, exist_ok=True)
    source = folder / "vm_metrics.parquet"
    write(recent, source)
    opened = open_store(folder)
    opened.apply(definitions(source))
    opened.materialize(end - TTL, end + timedelta(seconds=1))
    metrics.log(vms=recent["vm_id"].n_unique(), rows=len(recent), until=end.strftime("%Y-%m-%dT%H:%M:%SZ"))


def latest(table: pl.DataFrame) -> datetime:
    """Return the time of the latest row of a feature table, which has one."""
    end = table["event_timestamp"].max()
    assert isinstance(end, datetime), "features writes no empty table"  # noqa: S101
    return end
