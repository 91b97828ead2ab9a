"""Covariates from a feature store that works, fails, hangs or is not there; the event loop never waits for it."""

import asyncio
import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import circuitbreaker
import onnx
import polars as pl
import pytest
import redis

from fleetml.component import Artifact
from fleetml.errors import ConfigurationError
from fleetml.serving import deployment, online
from fleetml.serving.client import Client
from fleetml.serving.deployment import Card
from fleetml.serving.online import Absent, Feast
from fleetml.stack.ports import free
from fleetml.stack.processes import wait_until
from tests.conformance.test_cache_stores import redis_server

CPU = "vm_metrics:cpu_usage"
NOW = datetime(2026, 1, 1, tzinfo=UTC)


class Store:
    """A store that looks up by a function of VM and references, and knows one feature service."""

    def __init__(self, find: Callable[[str, Sequence[str]], Mapping[str, float]], service: str = "") -> None:
        self._find, self._service = find, service

    def check(self, service: str) -> None:
        if service != self._service:
            raise ConfigurationError(f"no feature service {service}")

    def look_up(self, vm_id: str, references: Sequence[str], at: datetime) -> Mapping[str, float]:
        return self._find(vm_id, references)


def test_a_known_vm_has_values_and_none_are_looked_up_before_a_model_needs_them(tmp_path: Path) -> None:
    opened: list[Path] = []

    def open_store(folder: Path) -> Store:
        opened.append(folder)
        return Store(lambda vm_id, references: {CPU: 30.0} if vm_id == "vm-1" else {})

    async def ask() -> tuple[Mapping[str, float], ...]:
        store = Feast(tmp_path, open_store)
        await store.prepare([])
        early = await store.of("vm-1", [CPU], NOW)
        assert opened == []
        await store.prepare([CPU])
        await store.prepare([CPU])
        return (
            early,
            await store.of("vm-1", [CPU], NOW),
            await store.of("stranger", [CPU], NOW),
            await store.of("vm-1", [], NOW),
        )

    assert asyncio.run(ask()) == ({}, {CPU: 30.0}, {}, {})
    assert opened == [tmp_path]


def test_a_store_that_fails_is_said_once_and_forecasts_go_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    works = False

    def lookup(vm_id: str, references: Sequence[str]) -> Mapping[str, float]:
        if not works:
            raise OSError("disk gone")
        return {CPU: 1.0}

    async def ask() -> None:
        nonlocal works
        store = Feast(tmp_path, lambda folder: Store(lookup))
        await store.prepare([CPU])
        assert await store.of("vm-1", [CPU], NOW) == {}
        assert await store.of("vm-1", [CPU], NOW) == {}
        works = True
        assert await store.of("vm-1", [CPU], NOW) == {CPU: 1.0}

    with caplog.at_level(logging.INFO, "fleetml.serving.online"):
        asyncio.run(ask())
    assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING", "INFO"]
    assert "disk gone" in caplog.text


def test_a_redis_that_is_stopped_is_left_alone_and_asked_again_once_it_is_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, port, asked = [100.0], free(), []
    monkeypatch.setattr(circuitbreaker, "monotonic", lambda: now[0])
    client = redis.Redis(port=port, socket_timeout=20)

    def lookup(vm_id: str, references: Sequence[str]) -> Mapping[str, float]:
        asked.append(vm_id)
        found = client.get(vm_id)
        return {CPU: float(found)} if isinstance(found, bytes) else {}

    async def ask(store: Feast, times: int = 1) -> list[Mapping[str, float]]:
        return [await store.of("vm-1", [CPU], NOW) for _ in range(times)]

    async def go() -> None:
        store = Feast(tmp_path, lambda folder: Store(lookup))
        with redis_server(tmp_path, port):
            client.set("vm-1", 3.0)
            await store.prepare([CPU])
            assert await ask(store) == [{CPU: 3.0}]
        asked.clear()
        assert await ask(store, 20) == [{}] * 20
        assert len(asked) == online.FAILURES, "then it is left alone"
        with redis_server(tmp_path, port):
            client.set("vm-1", 4.0)
            assert await ask(store) == [{}]
            now[0] += online.PAUSE_SECONDS + 1
            assert await ask(store, 2) == [{CPU: 4.0}] * 2

    monkeypatch.setattr(online, "LOOKUP_SECONDS", 60.0)
    asyncio.run(go())
    client.close()


def test_a_store_that_hangs_does_not_hold_the_forecast(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(online, "LOOKUP_SECONDS", 0.05)
    asked: list[str] = []
    go = threading.Event()

    def lookup(vm_id: str, references: Sequence[str]) -> Mapping[str, float]:
        asked.append(vm_id)
        if vm_id == "slow":
            go.wait(30)
        return {CPU: 1.0}

    async def ask() -> list[Mapping[str, float]]:
        store = Feast(tmp_path, lambda folder: Store(lookup))
        await store.prepare([CPU])
        return [await store.of("slow", [CPU], NOW), await store.of("behind", [CPU], NOW)]

    found = asyncio.run(ask())
    go.set()
    assert found == [{}, {}]
    assert "behind" not in asked  # it did not even wait


def test_a_store_that_does_not_open_is_tried_again_with_the_next_model(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tries = iter([OSError("not materialised yet"), None])

    def open_store(folder: Path) -> Store:
        if (error := next(tries)) is not None:
            raise error
        return Store(lambda vm_id, references: {CPU: 2.0})

    async def ask() -> Mapping[str, float]:
        store = Feast(tmp_path, open_store)
        await store.prepare([CPU])
        await store.prepare([CPU])
        return await store.of("vm-1", [CPU], NOW)

    assert asyncio.run(ask()) == {CPU: 2.0}
    assert "not materialised yet" in caplog.text


def test_without_a_store_every_covariate_is_absent() -> None:
    async def ask() -> Mapping[str, float]:
        await Absent().prepare([CPU])
        return await Absent().of("vm-1", [CPU], NOW)

    assert asyncio.run(ask()) == {}


def test_the_server_answers_with_the_vms_covariates(
    tmp_path: Path, graph: Callable[..., Path], serve: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    known = {"vm-1": {CPU: 30.0}, "vm-2": {CPU: float("nan")}}
    monkeypatch.setattr(online, "_open", lambda folder: Store(lambda vm_id, references: known.get(vm_id, {})))
    root, path = tmp_path / "serving", graph()
    deployment.install(root, Card("bandwidth", "1", deployment.digest(path)), {deployment.GRAPH: path})
    deployment.point(root, "bandwidth", "1")
    with Client(serve(root, feature_store=tmp_path)) as client:
        answers = [client.predict_bandwidth(vm, [1.0] * 12, 5).values for vm in ("vm-1", "vm-2", "vm-3")]
    assert answers == [(31.0,), (1.0,), (1.0,)]


def test_the_server_reads_what_was_materialised_into_feast(
    tmp_path: Path, graph: Callable[..., Path], serve: Callable[..., str]
) -> None:
    from components.features.materialise import materialise

    hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    rows = {"vm_id": ["vm-1", "vm-2"], "event_timestamp": [hour, hour], "cpu_usage": [30.0, None]}
    others = ("memory_usage", "disk_io", "network_io", "latency", "error_rate")
    places = (pl.lit(place).alias(name) for name, place in (("host", "h"), ("region", "r")))
    table = pl.DataFrame(rows).with_columns(*(pl.lit(0.0).alias(name) for name in others), *places)
    table.cast({"event_timestamp": pl.Datetime("us", "UTC")}).write_parquet(tmp_path / "features")
    store, root, path = tmp_path / "store", tmp_path / "serving", graph()
    materialise(Artifact("features", str(tmp_path / "features")), Artifact("metrics", ""), str(store))
    deployment.install(root, Card("bandwidth", "1", deployment.digest(path)), {deployment.GRAPH: path})
    deployment.point(root, "bandwidth", "1")
    with Client(serve(root, feature_store=store)) as client:
        answers = [client.predict_bandwidth(vm, [1.0] * 12, 5).values for vm in ("vm-1", "vm-2", "vm-3")]
    assert answers == [(31.0,), (1.0,), (1.0,)]


def test_a_model_whose_feature_service_is_missing_or_changed_is_refused(tmp_path: Path) -> None:
    async def ask(service: str) -> None:
        await Feast(tmp_path, lambda folder: Store(lambda vm_id, references: {}, "forecaster-1")).prepare(
            [CPU], service
        )

    asyncio.run(ask("forecaster-1"))
    asyncio.run(ask(""))
    with pytest.raises(ConfigurationError, match="forecaster-2"):
        asyncio.run(ask("forecaster-2"))


def test_the_server_refuses_a_model_of_another_feature_service_and_serves_the_one_before(
    tmp_path: Path, graph: Callable[..., Path], serve: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(online, "_open", lambda folder: Store(lambda vm_id, references: {CPU: 30.0}, "forecaster-1"))
    root = tmp_path / "serving"
    for version, service in (("1", "forecaster-1"), ("2", "forecaster-2")):
        path = tmp_path / f"{version}.onnx"
        model = onnx.load(graph())
        onnx.helper.set_model_props(
            model, {**{p.key: p.value for p in model.metadata_props}, "fleetml.feature_service": service}
        )
        onnx.save(model, path)
        deployment.install(root, Card("bandwidth", version, deployment.digest(path)), {deployment.GRAPH: path})
    deployment.point(root, "bandwidth", "1")
    with Client(serve(root, feature_store=tmp_path)) as client:
        deployment.point(root, "bandwidth", "2")
        assert wait_until(lambda: deployment.status(root).get("refused"), 60, 0.05)
        assert client.predict_bandwidth("vm-1", [1.0] * 12, 5).model_version == "1"
    assert "no feature service forecaster-2" in deployment.status(root)["refused"]["bandwidth"]["error"]
