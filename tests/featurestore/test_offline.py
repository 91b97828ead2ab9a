"""The ASOF offline store beside Feast's own DuckDB store: the same questions, the same answers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from feast import Entity, FeatureService, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType
from feast.data_format import ParquetFormat
from feast.infra.offline_stores.file_source import SavedDatasetFileStorage
from feast.on_demand_feature_view import on_demand_feature_view
from feast.types import Float64

from fleetml.errors import InvalidData

START = datetime(2026, 1, 1, tzinfo=UTC)
ASOF = "fleetml.featurestore.offline.AsofOfflineStore"


def store(folder: Path, offline: str) -> FeatureStore:
    folder.mkdir(exist_ok=True)
    return FeatureStore(
        config=RepoConfig(
            project="test",
            provider="local",
            registry=str(folder / "registry.db"),
            offline_store={"type": offline},
            online_store={"type": "sqlite", "path": str(folder / "online.db")},
            entity_key_serialization_version=3,
        )
    )


def minutes(values: Any) -> pd.Series:
    return pd.Series(pd.Timestamp(START) + pd.to_timedelta(values, unit="min")).astype("datetime64[us, UTC]")


def series(seed: int, keys: list[str], column: str, *, gaps: bool = True) -> pd.DataFrame:
    """Rows of `keys` every minute of three hours, a third of them missing, with the values a and b; some are null."""
    rng = np.random.default_rng(seed)
    rows = [(key, minute) for key in keys for minute in range(180) if not gaps or rng.random() > 0.33]
    made = pd.DataFrame(rows, columns=[column, "minute"])
    made["event_timestamp"] = minutes(made.pop("minute"))
    made["a"], made["b"] = rng.random(len(made)), np.where(rng.random(len(made)) < 0.1, np.nan, rng.random(len(made)))
    return made.sample(frac=1, random_state=seed)


def asked(seed: int = 9, **keys: list[str]) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    table = pd.DataFrame({name: rng.choice([*values, "unknown"], 300) for name, values in keys.items()})
    table["event_timestamp"] = minutes(rng.integers(-10, 260, 300))
    table["label"] = range(300)
    return table


def source(path: Path, table: pd.DataFrame, **options: Any) -> FileSource:
    table.to_parquet(path, index=False, coerce_timestamps="us")
    return FileSource(
        name=path.stem, path=str(path), file_format=ParquetFormat(), timestamp_field="event_timestamp", **options
    )


def view(name: str, entity: Entity, data: FileSource, ttl: timedelta) -> FeatureView:
    fields = [Field(name=column, dtype=Float64) for column in ("a", "b")]
    return FeatureView(name=name, entities=[entity], ttl=ttl, schema=fields, source=data)


VM = Entity(name="vm", join_keys=["vm_id"], value_type=ValueType.STRING)
REGION = Entity(name="region", join_keys=["region_id"], value_type=ValueType.STRING)


def answers(
    tmp_path: Path, objects: list[Any], entities: pd.DataFrame, features: list[str], **options: Any
) -> list[pd.DataFrame]:
    """Return what Feast's own store and ours say, sorted alike."""
    found = []
    for offline in ("duckdb", ASOF):
        opened = store(tmp_path / offline[-8:], offline)
        opened.apply(objects)
        table = opened.get_historical_features(entities, features=features, **options).to_df()
        found.append(table.sort_values("label").sort_index(axis=1).reset_index(drop=True))
    return found


@pytest.mark.parametrize("ttl", [timedelta(0), timedelta(minutes=2), timedelta(hours=1)], ids=str)
def test_a_view(tmp_path: Path, ttl: timedelta) -> None:
    data = source(tmp_path / "vm.parquet", series(1, ["x", "y"], "vm_id"))
    theirs, ours = answers(
        tmp_path, [VM, view("metrics", VM, data, ttl)], asked(vm_id=["x", "y"]), ["metrics:a", "metrics:b"]
    )
    pd.testing.assert_frame_equal(theirs, ours)
    assert ours["a"].notna().any()
    assert ours["a"].isna().any()


def test_two_views_of_two_entities_with_features_of_one_name(tmp_path: Path) -> None:
    views = [
        view("metrics", VM, source(tmp_path / "vm.parquet", series(1, ["x", "y"], "vm_id")), timedelta(minutes=30)),
        view(
            "regional", REGION, source(tmp_path / "r.parquet", series(2, ["n", "s"], "region_id")), timedelta(minutes=5)
        ),
    ]
    theirs, ours = answers(
        tmp_path,
        [VM, REGION, *views],
        asked(vm_id=["x", "y"], region_id=["n", "s"]),
        ["metrics:a", "regional:a", "regional:b"],
        full_feature_names=True,
    )
    pd.testing.assert_frame_equal(theirs, ours)
    assert {"metrics__a", "regional__a", "regional__b"} < set(ours.columns)


def test_of_rows_with_the_same_time_that_created_last_counts(tmp_path: Path) -> None:
    once = series(1, ["x", "y"], "vm_id")
    again = once.assign(a=once["a"] + 1, b=np.nan, created=minutes(np.full(len(once), 500)).to_numpy())
    table = pd.concat([again, once.assign(created=minutes(np.full(len(once), 400)).to_numpy())])
    table["created"] = pd.to_datetime(table["created"], utc=True).astype("datetime64[us, UTC]")
    data = source(tmp_path / "vm.parquet", table, created_timestamp_column="created")
    objects = [VM, view("metrics", VM, data, timedelta(hours=1))]
    theirs, ours = answers(tmp_path, objects, asked(vm_id=["x", "y"]), ["metrics:a", "metrics:b"])
    pd.testing.assert_frame_equal(theirs, ours)
    assert ours["a"].min() >= 1
    assert ours["b"].isna().all()


def test_what_was_not_yet_created_then_can_be_left_out(tmp_path: Path) -> None:
    table = series(1, ["x", "y"], "vm_id")
    table["created"] = table["event_timestamp"] + pd.Timedelta(minutes=20)
    data = source(tmp_path / "vm.parquet", table, created_timestamp_column="created")
    objects = [VM, view("metrics", VM, data, timedelta(hours=1))]
    theirs, ours = answers(tmp_path, objects, asked(vm_id=["x", "y"]), ["metrics:a"], filter_by_created_timestamp=True)
    pd.testing.assert_frame_equal(theirs, ours)


def test_columns_and_keys_under_other_names(tmp_path: Path) -> None:
    table = series(1, ["x", "y"], "vm_id").rename(columns={"a": "load"})
    data = source(tmp_path / "vm.parquet", table, field_mapping={"load": "a"})
    metrics = view("metrics", VM, data, timedelta(hours=1))
    found = []
    for offline in ("duckdb", ASOF):
        opened = store(tmp_path / offline[-8:], offline)
        service = FeatureService(
            name="pair",
            features=[
                metrics.with_name("own").with_join_key_map({"vm_id": "vm_id"}),
                metrics.with_name("peer").with_join_key_map({"vm_id": "peer_id"}),
            ],
        )
        opened.apply([VM, metrics, service])
        pairs = asked(vm_id=["x", "y"], peer_id=["x", "y"])
        table = opened.get_historical_features(pairs, features=service, full_feature_names=True).to_df()
        found.append(table.sort_values("label").sort_index(axis=1).reset_index(drop=True))
    pd.testing.assert_frame_equal(*found)
    assert {"own__a", "peer__a"} < set(found[1].columns)


def test_on_demand_features(tmp_path: Path) -> None:
    metrics = view("metrics", VM, source(tmp_path / "vm.parquet", series(1, ["x"], "vm_id")), timedelta(hours=1))

    @on_demand_feature_view(sources=[metrics], schema=[Field(name="total", dtype=Float64)], mode="python")
    def sums(inputs: dict[str, Any]) -> dict[str, Any]:
        return {
            "total": [None if a is None or b is None else a + b for a, b in zip(inputs["a"], inputs["b"], strict=True)]
        }

    theirs, ours = answers(tmp_path, [VM, metrics, sums], asked(vm_id=["x"]), ["metrics:a", "metrics:b", "sums:total"])
    pd.testing.assert_frame_equal(theirs, ours)
    assert ours["total"].notna().any()


def test_times_of_other_zones_and_texts_are_moments_too(tmp_path: Path) -> None:
    metrics = view("metrics", VM, source(tmp_path / "vm.parquet", series(1, ["x"], "vm_id")), timedelta(hours=1))
    entities = asked(vm_id=["x"])
    entities["event_timestamp"] = entities["event_timestamp"].dt.tz_convert("Asia/Tokyo")
    theirs, ours = answers(tmp_path, [VM, metrics], entities, ["metrics:a"])
    assert ours["a"].equals(theirs["a"])
    assert ours["a"].notna().any()


def test_the_answer_can_be_kept(tmp_path: Path) -> None:
    opened = store(tmp_path / "store", ASOF)
    metrics = view("metrics", VM, source(tmp_path / "vm.parquet", series(1, ["x"], "vm_id")), timedelta(hours=1))
    opened.apply([VM, metrics])
    job = opened.get_historical_features(asked(vm_id=["x"]), features=["metrics:a"])
    place = SavedDatasetFileStorage(path=str(tmp_path / "kept.parquet"), file_format=ParquetFormat())
    opened.create_saved_dataset(job, name="kept", storage=place)
    assert len(pd.read_parquet(tmp_path / "kept.parquet")) == 300


def test_a_key_that_is_missing_is_named(tmp_path: Path) -> None:
    opened = store(tmp_path / "store", ASOF)
    metrics = view("metrics", VM, source(tmp_path / "vm.parquet", series(1, ["x"], "vm_id")), timedelta(hours=1))
    opened.apply([VM, metrics])
    with pytest.raises(InvalidData, match=r"'metrics' is joined by \['vm_id'\], the entities lack \['vm_id'\]"):
        opened.get_historical_features(asked(vm=["x"]), features=["metrics:a"]).to_df()
