"""Micro-batches: alone when idle, together when busy, bounded, and never after the deadline."""

import asyncio
import threading
import time
from typing import Any

import numpy as np
import pytest

from fleetml.serving import batching
from fleetml.serving.backends import Arrays, Tensor
from fleetml.serving.batching import CHUNK, INLINE_SECONDS, Batcher
from fleetml.serving.caching import ROWS, Cache
from fleetml.serving.errors import Expired, Overloaded
from fleetml.serving.model import Model
from fleetml.serving.tensors import KIND


class Doubling:
    """A graph that doubles x; `go` holds it up, and `runs` tells how many rows each run had."""

    metadata: dict[str, str] = {}  # noqa: RUF012
    inputs = outputs = (Tensor("x", np.dtype(np.float32), (None, 1)),)

    def __init__(self) -> None:
        self.go, self.began = threading.Event(), threading.Event()
        self.go.set()
        self.runs: list[int] = []

    def run(self, inputs: Arrays) -> Arrays:
        self.began.set()
        assert self.go.wait(60)
        if np.isnan(inputs["x"]).any():
            raise ValueError("not a number")
        self.runs.append(len(inputs["x"]))
        time.sleep(INLINE_SECONDS * 2)  # so that a thread runs it
        return {"x": inputs["x"] * 2}


def model(session: Any, batchable: bool = True) -> Model:
    return Model("m", "1", "abc", session, "any", KIND, None, 0.0, batchable)


def rows(*values: float) -> Arrays:
    return {"x": np.array(values, np.float32)[:, None]}


async def busy(batcher: Batcher, served: Model, session: Doubling) -> "asyncio.Task[Arrays]":
    """Let one question hold the only thread."""
    session.go.clear()
    first = asyncio.create_task(batcher.run(served, rows(1.0)))
    await asyncio.to_thread(session.began.wait, 60)
    return first


def test_what_comes_while_it_is_busy_runs_together() -> None:
    session = Doubling()

    async def ask() -> list[list[float]]:
        batcher, served = Batcher(1, 256, 1000), model(session)
        first = await busy(batcher, served, session)
        others = [asyncio.create_task(batcher.run(served, rows(float(n), n + 0.5))) for n in range(2, 7)]
        await asyncio.sleep(0)
        session.go.set()
        made = [await task for task in (first, *others)]
        batcher.close()
        return [each["x"].ravel().tolist() for each in made]

    assert asyncio.run(ask()) == [[2.0], *([2.0 * n, 2.0 * n + 1] for n in range(2, 7))]
    assert session.runs == [1, 10]


@pytest.mark.parametrize(("batch_rows", "batchable", "runs"), [(4, True, [1, 4, 2]), (256, False, [1, 2, 2, 2])])
def test_a_batch_has_its_limit_and_some_graphs_take_none(batch_rows: int, batchable: bool, runs: list[int]) -> None:
    session = Doubling()

    async def ask() -> None:
        batcher, served = Batcher(1, batch_rows, 1000), model(session, batchable)
        first = await busy(batcher, served, session)
        others = [asyncio.create_task(batcher.run(served, rows(1.0, 2.0))) for _ in range(3)]
        await asyncio.sleep(0)
        session.go.set()
        await asyncio.gather(first, *others)
        batcher.close()

    asyncio.run(ask())
    assert session.runs == runs


def test_one_that_fails_does_not_take_others_with_it() -> None:
    session = Doubling()

    async def ask() -> list[Any]:
        batcher, served = Batcher(1, 256, 1000), model(session)
        first = await busy(batcher, served, session)
        others = [asyncio.create_task(batcher.run(served, rows(value))) for value in (2.0, float("nan"), 3.0)]
        await asyncio.sleep(0)
        session.go.set()
        await first
        made = await asyncio.gather(*others, return_exceptions=True)
        batcher.close()
        return made

    good, bad, also = asyncio.run(ask())
    assert isinstance(bad, ValueError)
    assert (good["x"].item(), also["x"].item()) == (4.0, 6.0)


def test_a_full_queue_refuses_and_what_expired_or_left_is_not_run() -> None:
    session = Doubling()

    async def ask() -> None:
        batcher, served = Batcher(1, 256, 3), model(session)
        first = await busy(batcher, served, session)
        late = asyncio.create_task(batcher.run(served, rows(2.0), expires=time.monotonic() - 1))
        gone = asyncio.create_task(batcher.run(served, rows(3.0)))
        kept = asyncio.create_task(batcher.run(served, rows(4.0)))
        await asyncio.sleep(0)
        with pytest.raises(Overloaded, match="at most 3 rows wait for model m, 3 do"):
            await batcher.run(served, rows(5.0))
        gone.cancel()
        session.go.set()
        await first
        assert (await kept)["x"].item() == 8.0
        with pytest.raises(Expired):
            await late
        batcher.close()

    asyncio.run(ask())
    assert session.runs == [1, 1]


def test_very_many_rows_go_through_the_graph_in_parts() -> None:
    session = Doubling()

    async def ask() -> Arrays:
        batcher = Batcher(1, 256, 10)
        made = await batcher.run(model(session), {"x": np.ones((2 * CHUNK + 1, 1), np.float32)})
        batcher.close()
        return made

    assert len(asyncio.run(ask())["x"]) == 2 * CHUNK + 1
    assert session.runs == [CHUNK, CHUNK, 1]


class Named(Doubling):
    """Tells which thread ran how many rows."""

    def run(self, inputs: Arrays) -> Arrays:
        self.threads = {**getattr(self, "threads", {}), len(inputs["x"]): threading.current_thread()}
        if np.isnan(inputs["x"]).any():
            raise ValueError("not a number")
        return {"x": inputs["x"] * 2}


def test_what_is_known_to_be_quick_runs_at_once_and_more_rows_are_not_thought_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(batching, "DIRECT_SECONDS", 600.0)
    session = Named()

    async def ask() -> None:
        batcher, served = Batcher(1, 256, 1000), model(session)
        await batcher.run(served, rows(1.0))
        assert session.threads[1] is not threading.current_thread()
        with pytest.raises(StopIteration) as made:  # without a turn of the event loop
            batcher.run(served, rows(3.0)).send(None)
        assert made.value.value["x"].item() == 6.0
        assert session.threads[1] is threading.current_thread()
        await batcher.run(served, rows(*range(100)))
        assert session.threads[100] is not threading.current_thread()
        batcher.close()

    asyncio.run(ask())


def test_a_quick_batch_that_failed_runs_again_in_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batching, "DIRECT_SECONDS", -1.0)
    monkeypatch.setattr(batching, "INLINE_SECONDS", 600.0)
    session = Named()

    async def ask() -> list[Any]:
        batcher, served = Batcher(1, 256, 1000), model(session)
        await batcher.run(served, rows(1.0, 2.0, 3.0))
        asked = (batcher.run(served, rows(value)) for value in (4.0, float("nan"), 6.0))
        made = await asyncio.gather(*asked, return_exceptions=True)
        assert session.threads[3] is threading.current_thread()
        assert session.threads[1] is not threading.current_thread()
        batcher.close()
        return made

    good, bad, also = asyncio.run(ask())
    assert isinstance(bad, ValueError)
    assert (good["x"].item(), also["x"].item()) == (8.0, 12.0)


def test_the_cache_knows_the_same_arrays_of_the_same_version_only() -> None:
    cache, served = Cache(2, 60.0), model(Doubling())
    key = cache.key(served, rows(1.0))
    assert cache.get(served, key) is None
    cache.put(key, rows(2.0))
    found = cache.get(served, cache.key(served, rows(1.0)))
    assert found is not None
    assert found["x"].item() == 2.0
    assert cache.get(served, cache.key(served, rows(3.0))) is None
    other = Model("m", "2", "def", Doubling(), "any", KIND, None, 0.0, True)
    assert cache.get(other, cache.key(other, rows(1.0))) is None
    assert cache.key(served, {"x": np.ones((ROWS + 1, 1), np.float32)}) is None
    assert Cache(0, 60.0).key(served, rows(1.0)) is None
