"""What every store of the cache's index does. Redis is a real server (Debian: redis-server), started for these tests."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import circuitbreaker
import pytest

from fleetml.cache import Disk, Entry, Hybrid, Memory, Nothing, Store
from fleetml.cache.redis import PREFIX, Redis
from fleetml.engines.local import Job, run
from fleetml.errors import Unavailable
from fleetml.pipeline import load
from fleetml.records import Run
from fleetml.settings import CacheChoice, Settings
from fleetml.stack.ports import free
from tests.small_pipelines import Pipeline, pipeline

__all__ = ["pipeline"]

KEYS = ["a" * 64, "b" * 64, "c" * 64]
KEPT = ["memory", "disk", "redis", "hybrid"]
"""The stores that keep something."""


def entry(result: str = "work-1", age: float = 0.0) -> Entry:
    return Entry(result, "0" * 64, {"code": "é"}, time.time() - age, "work", "p", "r")


@contextmanager
def redis_server(folder: Path, port: int) -> Iterator[str]:
    """Run a Redis server inside the block; yield its URL."""
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("no redis-server here; as root: apt-get install redis-server")
    words = [program, "--bind", "127.0.0.1", "--port", f"{port}", "--save", "", "--dir", f"{folder}"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as going:
        assert going.stdout is not None
        started = any("ready to accept connections" in line.lower() for line in going.stdout)
        assert started, "redis-server ended at once"
        yield f"redis://127.0.0.1:{port}/0"
        going.terminate()
        going.stdout.read()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Return the URL of a Redis server of its own."""
    with redis_server(tmp_path_factory.mktemp("redis"), free()) as url:
        yield url


@pytest.fixture
def make(tmp_path: Path, request: pytest.FixtureRequest) -> Callable[..., Store]:
    """Return a function that makes an empty store of a kind."""

    def redis(ttl: float) -> Redis:
        made = Redis(request.getfixturevalue("server"), ttl)
        made._client.flushall()
        return made

    def make(kind: str, ttl: float = 0.0) -> Store:
        match kind:
            case "none":
                return Nothing()
            case "memory":
                return Memory(ttl)
            case "disk":
                return Disk(tmp_path / "cache", ttl)
            case "redis":
                return redis(ttl)
        return Hybrid((Memory(ttl), Disk(tmp_path / "cache", ttl), redis(ttl)))

    return make


@pytest.mark.parametrize("kind", KEPT)
def test_what_is_put_is_found_and_the_last_one_counts(make: Callable[..., Store], kind: str) -> None:
    store = make(kind)
    assert store.get(KEYS[0]) is None
    for result in ("work-1", "work-2"):
        last = entry(result)
        store.put(KEYS[0], last)
    store.put(KEYS[1], entry("other"))
    assert store.get(KEYS[0]) == last
    assert {key: found.result for key, found in store.entries()} == {KEYS[0]: "work-2", KEYS[1]: "other"}


@pytest.mark.parametrize("kind", KEPT)
def test_what_is_removed_is_gone(make: Callable[..., Store], kind: str) -> None:
    store = make(kind)
    store.put(KEYS[0], entry())
    assert store.remove(KEYS[0])
    assert not store.remove(KEYS[0])
    assert store.get(KEYS[0]) is None
    assert list(store.entries()) == []


@pytest.mark.parametrize("kind", KEPT)
def test_an_entry_older_than_the_limit_is_a_miss(make: Callable[..., Store], kind: str) -> None:
    store = make(kind, ttl=100)
    store.put(KEYS[0], entry(age=101))
    store.put(KEYS[1], entry(age=10))
    assert store.get(KEYS[0]) is None
    assert store.get(KEYS[1]) is not None
    store.put(KEYS[0], entry())
    assert store.get(KEYS[0]) is not None


def test_none_keeps_nothing(make: Callable[..., Store]) -> None:
    store = make("none")
    store.put(KEYS[0], entry())
    assert store.get(KEYS[0]) is None
    assert not store.remove(KEYS[0])
    assert list(store.entries()) == []


@pytest.mark.parametrize("kind", ["none", *KEPT])
def test_many_at_once(make: Callable[..., Store], kind: str) -> None:
    store = make(kind)

    def work(number: int) -> None:
        key = KEYS[number % 3]
        store.put(key, entry(f"work-{number}"))
        found = store.get(key)
        assert (found is None) == (kind == "none")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(60)))
    assert len(list(store.entries())) == (0 if kind == "none" else 3)


WRITE = """
import sys, time
from pathlib import Path
from fleetml.cache import Disk, Entry, Hybrid
from fleetml.cache.redis import Redis
kind, folder, url = sys.argv[1:]
disk = Disk(Path(folder))
store = disk if kind == "disk" else Redis(url) if kind == "redis" else Hybrid((disk, Redis(url)))
for number in range(10**9):
    store.put("a" * 64, Entry(f"work-{number}", "0" * 64, {"code": "c" * 20_000}, time.time()))
    if number == 0:
        print("writing", flush=True)
"""


@pytest.mark.parametrize("kind", ["disk", "redis", "hybrid"])
def test_writers_that_are_killed_leave_a_whole_entry(
    make: Callable[..., Store], kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    store, told = make(kind), []  # type: ignore[var-annotated]
    url = "" if kind == "disk" else request.getfixturevalue("server")
    command = [sys.executable, "-c", WRITE, kind, str(tmp_path / "cache"), url]
    writers = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(3)]
    for writer in writers:
        assert writer.stdout is not None
        writer.stdout.readline()
    for writer in writers:
        for _ in range(50):
            store.get(KEYS[0], told.append)
        writer.kill()
        writer.communicate()
    assert store.get(KEYS[0], told.append) is not None
    assert told == []


@pytest.mark.parametrize("kind", ["disk", "redis", "hybrid"])
@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"result": "../x", "sha256": "", "parts": {}, "created": 0}'])
def test_a_damaged_entry_is_a_miss_that_is_told_and_the_next_put_mends_it(
    make: Callable[..., Store], kind: str, text: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    store = make(kind)
    if kind == "disk":
        (tmp_path / "cache").mkdir()
        (tmp_path / "cache" / f"{KEYS[0]}.json").write_text(text)
    else:
        Redis(request.getfixturevalue("server"))._client.set(PREFIX + KEYS[0], text)
    told: list[str] = []
    assert store.get(KEYS[0], told.append) is None
    assert len(told) == 1
    assert list(store.entries()) == []
    store.put(KEYS[0], entry())
    assert store.get(KEYS[0], told.append) is not None
    assert len(told) == 1


def test_a_hit_of_a_slower_store_is_written_back_to_the_faster_ones() -> None:
    fast, middle, slow = Memory(), Memory(), Memory()
    store = Hybrid((fast, middle, slow))
    middle.put(KEYS[0], entry("middle"))
    slow.put(KEYS[0], entry("slow"))
    assert store.get(KEYS[0]).result == "middle"  # type: ignore[union-attr]
    assert fast.get(KEYS[0]).result == "middle"  # type: ignore[union-attr]
    assert slow.get(KEYS[0]).result == "slow"  # type: ignore[union-attr]


def test_a_redis_that_is_gone_is_told_once_and_steps_go_on(tmp_path: Path) -> None:
    url = f"redis://:secret@127.0.0.1:{free()}/0"
    store = Hybrid((Disk(tmp_path), Redis(url)))
    told: list[str] = []
    store.put(KEYS[0], entry(), told.append)
    assert store.get(KEYS[0], told.append) is not None
    assert store.get(KEYS[1], told.append) is None
    assert len(told) == 1
    assert "does not answer" in told[0]
    assert "secret" not in told[0] + repr(store)
    with pytest.raises(Unavailable, match="FLEETML_CACHE"):
        list(store.entries())


def test_a_redis_that_is_stopped_is_missed_and_used_again_once_it_is_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, port = [100.0], free()
    monkeypatch.setattr(circuitbreaker, "monotonic", lambda: now[0])
    figures = tmp_path / "metrics" / "cache.prom"
    store, told = Redis(f"redis://127.0.0.1:{port}/0", figures=figures), []
    with redis_server(tmp_path, port):
        store.put(KEYS[0], entry(), told.append)
        assert store.get(KEYS[0], told.append) is not None
        assert figures.read_text() == 'circuit_breaker_state{service="cache"} 0\n'
    assert [store.get(KEYS[0], told.append) for _ in range(3)] == [None] * 3
    assert (len(told), figures.read_text()) == (1, 'circuit_breaker_state{service="cache"} 2\n')
    with redis_server(tmp_path, port):
        assert store.get(KEYS[0], told.append) is None, "it is left alone for a while"
        now[0] += 31
        store.put(KEYS[0], entry(), told.append)
        assert store.get(KEYS[0], told.append) is not None
    assert (len(told), figures.read_text()) == (1, 'circuit_breaker_state{service="cache"} 0\n')


def test_redis_itself_drops_what_is_too_old(make: Callable[..., Store]) -> None:
    store = make("redis", ttl=100)
    store.put(KEYS[0], entry(age=40))
    assert 55_000 < store._client.pttl(PREFIX + KEYS[0]) <= 60_000  # type: ignore[attr-defined]


def test_what_one_machine_computed_is_a_hit_on_another(
    project: Settings, pipeline: Pipeline, server: str, tmp_path: Path
) -> None:
    """They share a Redis and an artifact store, no disk."""
    path = pipeline("def a(): return {'out': 1}\ndef b(a): return {'out': a}\n", {"a": [], "b": ["a"]})
    plan = load(path)

    def run_on(machine: str, kind: str, run_id: str = "r") -> list[bool]:
        choice = CacheChoice(kind, server)
        settings = replace(project, home=tmp_path / machine, cache=choice, store=f"file://{tmp_path}/shared")
        assert run(Job(plan, path, {}, run_id), settings) == "succeeded"
        return [attempt.cached for attempt in Run(settings.home, run_id).latest().values()]

    assert run_on("one", "redis") == [False, False]
    assert run_on("two", "redis") == [True, True]
    assert run_on("three", "hybrid") == [True, True]
    Redis(server)._client.flushall()
    assert run_on("three", "hybrid", "again") == [True, True]  # its own disk knows it by now
