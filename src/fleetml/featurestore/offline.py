"""A Feast offline store that joins as of a point in time by DuckDB's ASOF join. Any Feast project can use it:

    offline_store:
      type: fleetml.featurestore.offline.AsofOfflineStore

It is Feast's DuckDB store but for `get_historical_features`. Feast's own joins every row of a key with every moment
asked about before it keeps the latest: a series of n rows asked about n times makes n² rows. An ASOF join sorts both
sides once and makes a row a question. The answers are the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import ibis
import pandas as pd
from feast.data_source import DataSource
from feast.feature_view import DUMMY_ENTITY_ID, FeatureView
from feast.infra.offline_stores import offline_utils
from feast.infra.offline_stores.duckdb import (  # its readers and writers know every source; they are private
    DuckDBOfflineStore,
    DuckDBOfflineStoreConfig,
    _read_data_source,
    _write_data_source,
)
from feast.infra.offline_stores.ibis import IbisRetrievalJob
from feast.infra.offline_stores.offline_store import RetrievalJob, RetrievalMetadata
from feast.infra.registry.base_registry import BaseRegistry
from feast.on_demand_feature_view import OnDemandFeatureView
from feast.repo_config import RepoConfig
from ibis.expr.types import Table
from pydantic import StrictStr

from fleetml.errors import InvalidData

_AT, _CREATED = "__feature_timestamp", "__created_timestamp"
_UTC = ibis.dtype("timestamp('UTC', 6)")


class AsofOfflineStoreConfig(DuckDBOfflineStoreConfig):
    """As that of Feast's DuckDB store."""

    type: StrictStr = "fleetml.featurestore.offline.AsofOfflineStore"


class AsofOfflineStore(DuckDBOfflineStore):
    """Feast's DuckDB store with an ASOF join."""

    @staticmethod
    def get_historical_features(
        config: RepoConfig,
        feature_views: list[FeatureView],
        feature_refs: list[str],
        entity_df: pd.DataFrame | str | None,
        registry: BaseRegistry,
        project: str,
        full_feature_names: bool = False,
        filter_by_created_timestamp: bool = False,
    ) -> RetrievalJob:
        """Return each row of `entity_df` [N, keys + event_timestamp] with the features as they were known then.

        A feature is that of the latest row at or before the moment, of several with the same time that created last; null
        where that row is older than the view's TTL. The order of the rows is not kept. With `filter_by_created_timestamp`,
        which no ASOF join can express, Feast's own join is used. Raises InvalidData for entities that are not a table,
        or lack a key.
        """
        if not isinstance(entity_df, pd.DataFrame):
            raise InvalidData(f"entities must be a table of keys and times, got {str(entity_df)[:80]!r}; read it first")
        if filter_by_created_timestamp and any(_created(view) for view in feature_views):
            return DuckDBOfflineStore.get_historical_features(
                config, feature_views, feature_refs, entity_df, registry, project, full_feature_names, True
            )
        moment = offline_utils.infer_event_timestamp_from_entity_df(
            {str(name): kind for name, kind in entity_df.dtypes.items()}
        )
        times = pd.to_datetime(entity_df[moment], utc=True)
        joined = ibis.memtable(entity_df.assign(**{moment: times}))
        joined = joined.mutate(**{moment: joined[moment].cast(_UTC)})
        for view in feature_views:
            joined = _join(joined, moment, _Side.of(view, feature_refs, full_feature_names, config))
        on_demand = OnDemandFeatureView.get_requested_odfvs(feature_refs, project, registry)
        for each in on_demand:
            if each.mode == "substrait":
                joined = each.transform_ibis(joined, full_feature_names)
        return IbisRetrievalJob(
            joined,
            [each for each in on_demand if each.mode != "substrait"],
            full_feature_names,
            metadata=RetrievalMetadata(
                features=feature_refs,
                keys=[column for column in entity_df.columns if column != moment],
                min_event_timestamp=times.min(),
                max_event_timestamp=times.max(),
            ),
            data_source_writer=_write_data_source,
            staging_location=config.offline_store.staging_location,
            staging_location_endpoint_override=config.offline_store.staging_location_endpoint_override,
            repo_path=str(config.repo_path),
        )


@dataclass(frozen=True)
class _Side:
    """A view as one side of the join. `keys`: its column → the entity table's; `features`: its column → the result's."""

    name: str
    table: Table
    keys: dict[str, str]
    features: dict[str, str]
    ttl: timedelta | None

    @classmethod
    def of(cls, view: FeatureView, references: Sequence[str], full_names: bool, config: RepoConfig) -> _Side:
        source = _source(view)
        table = _read_data_source(source, str(config.repo_path))
        renamed = {new: old for old, new in source.field_mapping.items() if old in table.columns}
        table = table.rename(renamed) if renamed else table
        table = table.mutate(**{_AT: table[source.timestamp_field].cast(_UTC)})
        if created := _created(view):
            table = table.mutate(**{_CREATED: table[created].cast(_UTC)})
        asked = view.projection.name_to_use()
        wanted = [ref.partition(":")[2] for ref in references if ref.startswith(f"{asked}:")]
        prefix = f"{view.projection.name_alias or view.name}__" if full_names else ""
        keys = {entity.name: entity.name for entity in view.entity_columns if entity.name != DUMMY_ENTITY_ID}
        keys |= {own: alias for own, alias in view.projection.join_key_map.items() if own in keys}
        return cls(view.name, table, keys, {name: prefix + name for name in wanted}, view.ttl)

    def rows(self) -> Table:
        """Return keys, time and features, one row for a key and time: that created last."""
        columns = [*self.keys, _AT, *self.features]
        if _CREATED not in self.table.columns:
            return self.table.select(columns)
        latest = {name: self.table[name].argmax(self.table[_CREATED]) for name in self.features}
        return self.table.group_by([*self.keys, _AT]).aggregate(**latest)


def _join(entities: Table, moment: str, side: _Side) -> Table:
    if absent := [alias for alias in side.keys.values() if alias not in entities.columns]:
        raise InvalidData(
            f"feature view {side.name!r} is joined by {list(side.keys.values())}, the entities lack {absent}; add the column"
        )
    own = side.rows()
    own = own.rename({f"__{name}": name for name in own.columns if name != _AT})  # no name may meet one of the entities
    joined = entities.asof_join(
        own,
        on=entities[moment] >= own[_AT],
        predicates=[entities[alias] == own[f"__{key}"] for key, alias in side.keys.items()],
    )
    fresh = joined[_AT] + ibis.interval(side.ttl) >= joined[moment] if side.ttl else None
    values: dict[str, Any] = {}
    for name, result in side.features.items():
        value = joined[f"__{name}"]
        values[result] = fresh.ifelse(value, ibis.null(value.type())) if fresh is not None else value
    return joined.select([joined[name] for name in entities.columns], **values)


def _source(view: FeatureView) -> DataSource:
    if view.batch_source is None:
        raise InvalidData(
            f"feature view {view.name!r} must have a batch source to be asked about the past; give it one"
        )
    return view.batch_source


def _created(view: FeatureView) -> str:
    return (view.batch_source and view.batch_source.created_timestamp_column) or ""
