"""What training sees is what serving sees: the features of a moment offline, and online after materialising up to it."""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import polars as pl
import pytest

from components.features.materialise import materialise, refresh
from components.features.table import feature_table, grouped, write
from feature_repo import store as stores
from feature_repo.definitions import FEATURES, TTL, definitions
from fleetml.component import Artifact
from fleetml.data import schema, synthetic
from fleetml.errors import ConfigurationError, InvalidData
from fleetml.stack.processes import wait_until

ONLINE = [
    *(f"{view}:{name}" for view in ("vm_metrics", "host_metrics", "region_metrics") for name in FEATURES),
    *("host_metrics:vms", "region_metrics:vms", "vm_load:pressure", "vm_load:io"),
]
OWN = [*ONLINE[: len(FEATURES)], *ONLINE[-2:]]  # of the VM itself
MOMENTS, VMS = 20, 50  # 1,000 pairs


@pytest.fixture(scope="module")
def table() -> pl.DataFrame:
    """A day and a half of sixty VMs; some stop early, so that they are older than the TTL in the end."""
    fleet = synthetic.generate(synthetic.parse("synthetic://?vms=60&seed=5"), datetime(2024, 3, 1, tzinfo=UTC), 2.5)
    made = feature_table(fleet.lazy())
    early = made["event_timestamp"].min() + timedelta(hours=6)
    stops = made["vm_id"].unique().sort().gather_every(7).to_list()
    return made.filter(~pl.col("vm_id").is_in(stops) | (pl.col("event_timestamp") < early))


@pytest.fixture
def opened() -> Iterator[None]:
    stores.opened.cache_clear()
    yield
    stores.opened.cache_clear()


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[int]:
    """A Redis server of our own; return its port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(tmp_path)]
    command += ["--requirepass", "s3cret"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as server:
        try:
            assert wait_until(lambda: not socket.socket().connect_ex(("127.0.0.1", port)), 60)
            yield port
        finally:
            server.terminate()


def bring_up(folder: Path, store: Path, table: pl.DataFrame, until: datetime) -> Artifact:
    """Materialise what is known up to a moment, as the stage does."""
    features, metrics = Artifact("features", str(folder / "features.parquet")), Artifact("metrics", str(folder / "m"))
    write(table.filter(pl.col("event_timestamp") <= until), features.path)
    materialise(features, metrics, str(store))
    return metrics


def offline(folder: Path, table: pl.DataFrame, moments: pd.DataFrame) -> pd.DataFrame:
    """Return every feature of (vm_id, host, region) at event_timestamp, by the point-in-time join over all data."""
    tables = {view: folder / f"all_{view}.parquet" for view in ("vm_metrics", "host_metrics", "region_metrics")}
    for view, rows in {"vm_metrics": table, **grouped(table)}.items():
        write(rows, tables[view])
    store = stores.open_store(folder / "offline")
    store.apply(definitions(tables))
    return store.get_historical_features(moments, features=ONLINE, full_feature_names=True).to_df()


def online(store: Path, entities: list[dict[str, str]]) -> pd.DataFrame:
    """Return what Feast's online store says; on-demand features, which it leaves out under full names, by a call of their own."""
    opened = stores.opened(store)
    stored = opened.get_online_features(features=ONLINE[:-2], entity_rows=entities, full_feature_names=True).to_df()
    made = opened.get_online_features(features=ONLINE[-2:], entity_rows=[{"vm_id": e["vm_id"]} for e in entities])
    return stored.merge(made.to_df().rename(columns={"pressure": "vm_load__pressure", "io": "vm_load__io"}), on="vm_id")


@pytest.mark.usefixtures("opened")
def test_a_thousand_pairs_of_vm_and_moment_have_the_same_features_offline_and_online(
    tmp_path: Path, table: pl.DataFrame
) -> None:
    store = tmp_path / "store"
    places = table.group_by("vm_id").agg(pl.col("host", "region").last()).sort("vm_id")
    every = table["event_timestamp"].unique().sort()
    moments = every.sample(MOMENTS, seed=1).sort().to_list()
    asked = [(moment, places.sample(VMS, seed=number)) for number, moment in enumerate(moments)]
    entities = pd.concat([vms.to_pandas().assign(event_timestamp=moment) for moment, vms in asked], ignore_index=True)
    known = offline(tmp_path, table, entities).set_index(["vm_id", "event_timestamp"])
    compared = 0
    for moment, vms in asked:
        bring_up(tmp_path, store, table, moment)
        served = online(store, vms.to_dicts()).set_index("vm_id")
        direct = stores.online_features(store, vms["vm_id"].to_list(), OWN, moment)
        for vm in vms["vm_id"]:
            then = known.loc[(vm, moment)]
            own = {ref: then[ref.replace(":", "__")] for ref in OWN}
            assert direct[vm] == {ref: value for ref, value in own.items() if value == value}, (vm, moment)
            if direct[vm]:  # what is older than the TTL is left out by `online_features`, not by Feast
                names = [ref.replace(":", "__") for ref in ONLINE]
                pd.testing.assert_series_equal(
                    served.loc[vm, names].astype(float), then[names].astype(float), check_names=False, check_exact=True
                )
            compared += 1
    assert compared == MOMENTS * VMS
    assert known["vm_metrics__cpu_usage"].isna().any()
    assert known["vm_load__pressure"].notna().any()


@pytest.mark.usefixtures("opened")
def test_materialising_goes_on_where_it_stopped_and_takes_rows_that_came_late(
    tmp_path: Path, table: pl.DataFrame
) -> None:
    store, end = tmp_path / "store", table["event_timestamp"].max()
    vm = table.filter(pl.col("event_timestamp") == end)["vm_id"][0]
    earlier, late = end - timedelta(hours=2), end - timedelta(hours=2, minutes=30)
    gone = (pl.col("vm_id") == vm) & (pl.col("event_timestamp") >= late)
    bring_up(tmp_path, store, table.filter(~gone), earlier)
    told = bring_up(tmp_path, store, table.filter(~gone | (pl.col("event_timestamp") == late)), end)
    assert told.metadata["since"] == f"{earlier - timedelta(hours=1):%Y-%m-%dT%H:%M:%SZ}"
    found = stores.online_features(store, [vm], ["vm_metrics:cpu_usage"], end)[vm]
    row = table.filter((pl.col("vm_id") == vm) & (pl.col("event_timestamp") == late))
    assert list(found.values()) == row["cpu_usage"].to_list()


@pytest.mark.usefixtures("opened")
def test_a_store_that_is_ahead_of_the_table_takes_its_last_ttl(tmp_path: Path, table: pl.DataFrame) -> None:
    """The hourly refresh has materialised the fleet of today, then somebody trains on data of years ago."""
    store, end = tmp_path / "store", table["event_timestamp"].max()
    ahead = table.with_columns(pl.col("event_timestamp") + timedelta(days=400), vm_id="other-" + pl.col("vm_id"))
    bring_up(tmp_path, store, ahead, end + timedelta(days=400))
    told = bring_up(tmp_path, store, table, end)
    assert told.metadata["since"] == f"{end - TTL:%Y-%m-%dT%H:%M:%SZ}"
    row = table.filter(pl.col("event_timestamp") == end).head(1)
    found = stores.online_features(store, row["vm_id"].to_list(), ["vm_metrics:cpu_usage"], end)
    assert found[row["vm_id"][0]] == {"vm_metrics:cpu_usage": row["cpu_usage"][0]}


@pytest.mark.usefixtures("opened")
def test_features_are_kept_fresh_from_a_canonical_table(tmp_path: Path) -> None:
    fleet = synthetic.generate(synthetic.parse("synthetic://?vms=4&seed=5"), datetime(2024, 3, 1, tzinfo=UTC), 0.5)
    data, store = Artifact("data", str(tmp_path / "data.parquet")), tmp_path / "store"
    schema.write(fleet, data.path)
    refresh(data, Artifact("metrics", str(tmp_path / "m")), str(store))
    made = feature_table(fleet.lazy())
    last = made.filter(pl.col("event_timestamp") == made["event_timestamp"].max()).sort("vm_id")
    assert len(last)
    found = stores.online_features(store, last["vm_id"].to_list(), ["vm_metrics:cpu_usage"], last["event_timestamp"][0])
    assert [each["vm_metrics:cpu_usage"] for each in found.values()] == last["cpu_usage"].to_list()


@pytest.mark.usefixtures("opened")
def test_a_feature_older_than_its_ttl_and_one_of_the_future_are_not_known(tmp_path: Path, table: pl.DataFrame) -> None:
    store, end = tmp_path / "store", table["event_timestamp"].max()
    bring_up(tmp_path, store, table, end)
    vm = table.filter(pl.col("event_timestamp") == end)["vm_id"][0]
    for at, known in ((end, True), (end + TTL, True), (end + TTL + timedelta(seconds=1), False), (end - TTL, False)):
        assert bool(stores.online_features(store, [vm], ["vm_metrics:cpu_usage"], at)[vm]) is known
    assert stores.online_features(store, [vm], ["vm_metrics:cpu_usage"]) == {vm: {}}  # now is years later


@pytest.mark.usefixtures("opened")
def test_the_online_store_may_be_a_redis_whose_password_stands_in_the_environment(
    tmp_path: Path, table: pl.DataFrame, redis: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REDIS_PASSWORD", "s3cret")
    store, end = tmp_path / "store", table["event_timestamp"].max()
    store.mkdir()
    where = f"localhost:{redis},password=${{REDIS_PASSWORD}}"
    config = {"online_store": {"type": "redis", "connection_string": where}}
    (store / stores.CONFIG).write_text(json.dumps(config))
    bring_up(tmp_path, store, table, end)
    assert not (store / stores.ONLINE).exists()
    last = table.filter(pl.col("event_timestamp") == end).sort("vm_id")
    found = stores.online_features(store, last["vm_id"].to_list(), ["vm_metrics:cpu_usage"], end)
    assert [list(each.values()) for each in found.values()] == [[value] for value in last["cpu_usage"]]
    assert stores.online_features(store, ["nobody"], ["vm_metrics:cpu_usage"], end) == {"nobody": {}}
    assert "s3cret" not in "".join(path.read_text(errors="replace") for path in store.rglob("*") if path.is_file())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("online_store: [", "must be a YAML document"),
        ("redis", "must hold the settings"),
        ("online_store: {type: none_such}", "must be a configuration that Feast takes"),
    ],
)
def test_a_configuration_that_is_none_is_named(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / stores.CONFIG).write_text(text)
    with pytest.raises(ConfigurationError, match=said):
        stores.open_store(tmp_path)


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("cpu_usage", -1.0, "cpu_usage must be finite and not negative, 1 of"),
        ("latency", float("inf"), "latency must be finite"),
        ("vm_id", "", "vm_id must name a VM"),
        ("event_timestamp", datetime(2024, 3, 1, 0, 1, tzinfo=UTC), "event_timestamp must be on the grid of 300 s"),
    ],
)
def test_a_table_that_breaks_a_rule_is_not_materialised(
    tmp_path: Path, table: pl.DataFrame, column: str, value: object, said: str
) -> None:
    first = pl.int_range(pl.len()) == 0
    broken = table.with_columns(pl.when(first).then(pl.lit(value)).otherwise(pl.col(column)).alias(column))
    features = Artifact("features", str(tmp_path / "features.parquet"))
    broken.write_parquet(features.path)
    with pytest.raises(InvalidData, match=said):
        materialise(features, Artifact("metrics", str(tmp_path / "m")), str(tmp_path / "store"))
    assert not (tmp_path / "store").exists()


@pytest.mark.usefixtures("opened")
def test_statistics_are_kept_beside_the_features(tmp_path: Path, table: pl.DataFrame) -> None:
    store, end = tmp_path / "store", table["event_timestamp"].max()
    bring_up(tmp_path, store, table, end)
    kept = [pd.read_parquet(path) for path in store.rglob("*.parquet") if "feature_name" in pd.read_parquet(path)]
    (metrics,) = [each for each in kept if len(each)]
    assert {"vm_metrics", "region_metrics"} <= {*metrics["feature_view_name"]}
    row = metrics[(metrics["feature_view_name"] == "vm_metrics") & (metrics["feature_name"] == "cpu_usage")].iloc[-1]
    assert 0 < row["mean"] < 200
