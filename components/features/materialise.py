"""The latest features of every VM, host and region, from the feature table into the online store that serving reads."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from components.features.check import check
from components.features.table import feature_table, grouped, write
from fleetml.component import Artifact
from fleetml.errors import ConfigurationError

if TYPE_CHECKING:
    from feast import FeatureStore

LATE = timedelta(hours=1)
"""How long after the last time materialised a row may still arrive and be taken."""


def materialise(features: Artifact, metrics: Artifact, store: str) -> None:
    """Apply the definitions and bring the online store in the folder `store` up to the table's latest row.

    A view that was materialised before is gone on with from `LATE` before that; else, and where that was beyond the table,
    the last TTL of the table is taken.
    Statistics of each feature are kept beside (Feast's own). SQLite keeps readers apart from the writer, so a server
    may read meanwhile. Raises ConfigurationError without a folder, InvalidData for a table that breaks a rule.
    """
    folder = _folder(store)
    _materialise(pl.read_parquet(features.path), metrics, folder)


def refresh(data: Artifact, metrics: Artifact, store: str) -> None:
    """The same from a canonical table, between trainings: features older than their TTL are not known online."""
    folder = _folder(store)
    _materialise(feature_table(pl.scan_parquet(data.path)), metrics, folder)


def _folder(store: str) -> Path:
    if not store:
        raise ConfigurationError("materialise needs the folder of the feature store, got ''; give store=…")
    return Path(store)


def _materialise(table: pl.DataFrame, metrics: Artifact, folder: Path) -> None:
    from feature_repo.definitions import TTL

    check(table)
    end = latest(table)
    recent = table.filter(pl.col("event_timestamp") > end - TTL)
    folder.mkdir(parents=True, exist_ok=True)
    told = bring_up(folder, recent, end)
    metrics.log(vms=recent["vm_id"].n_unique(), rows=len(recent), until=end.strftime("%Y-%m-%dT%H:%M:%SZ"), **told)


def bring_up(folder: Path, recent: pl.DataFrame, end: datetime) -> dict[str, Any]:
    """Write the sources, apply the definitions, materialise; return the views and the time each was gone on with."""
    from feature_repo.definitions import TTL, definitions
    from feature_repo.store import open_store

    tables = {}
    for view, rows in {"vm_metrics": recent, **grouped(recent)}.items():
        tables[view] = folder / f"{view}.parquet"
        write(rows, tables[view])
    store = open_store(folder)
    before = _materialised(store)
    store.apply(definitions(tables))
    gone_on = {view: before[view] - LATE for view in tables if view in before}
    # A store that is ahead of the table knows of another fleet, or another time
    starts = {view: at if end - TTL < (at := gone_on.get(view, end - TTL)) < end else end - TTL for view in tables}
    for view, start in starts.items():
        store.materialize(start, end, feature_views=[view])
    _keep_statistics(store, min(starts.values()), end)
    return {"views": ", ".join(tables), "since": min(starts.values()).strftime("%Y-%m-%dT%H:%M:%SZ")}


def latest(table: pl.DataFrame) -> datetime:
    """Return the time of the latest row of a feature table, which has one."""
    end = table["event_timestamp"].max()
    assert isinstance(end, datetime), "features writes no empty table"  # noqa: S101
    return end


def _materialised(store: FeatureStore) -> dict[str, datetime]:
    """Return until when each view was materialised before."""
    views = store.list_feature_views()
    ends = {view.name: view.most_recent_end_time for view in views}
    return {name: end if end.tzinfo else end.replace(tzinfo=UTC) for name, end in ends.items() if end}


def _keep_statistics(store: FeatureStore, start: datetime, end: datetime) -> None:
    from feast.monitoring.monitoring_service import MonitoringService

    MonitoringService(store).compute_metrics(store.project, start_date=start.date(), end_date=end.date())
