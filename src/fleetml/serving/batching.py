"""Runs graphs: a question at once when the version is idle, together with others where they wait for it anyway.

Nobody waits for a batch to fill. What arrives in one turn of the event loop, or while all threads run a version, goes
through its graph in one call. Graphs that take less than a hand-over to a thread run on the event loop itself; those that
take less than to wait for others, at once.
"""

import asyncio
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

import numpy as np

from fleetml.serving import metrics
from fleetml.serving.backends import Arrays
from fleetml.serving.errors import Expired, Overloaded
from fleetml.serving.model import Model

INLINE_SECONDS = 0.0005
"""A run expected to take less is not worth a thread."""
DIRECT_SECONDS = 0.0001
"""A run expected to take less is not worth a place in the line."""
CHUNK = 1024
"""Rows of one call of a graph at most."""


_UNKNOWN = (float("inf"), float("inf"))


@dataclass(frozen=True, slots=True)
class _Waiting:
    """`shape` is what arrays must have in common to be run together; `expires` by the monotonic clock."""

    inputs: Arrays
    rows: int
    shape: tuple[object, ...]
    expires: float
    answered: "asyncio.Future[Arrays]"


@dataclass(slots=True)
class _Line:
    """What waits for one version. `taken`: seconds of the last two runs of as many rows, by the power of two."""

    waiting: deque[_Waiting] = field(default_factory=deque)
    rows: int = 0
    running: int = 0
    called: bool = False
    taken: dict[int, tuple[float, float]] = field(default_factory=dict)

    def expected(self, rows: int) -> float:
        """Return the seconds that a run takes; infinite before the first. One that was preempted says nothing."""
        return min(self.taken.get(rows.bit_length(), _UNKNOWN))

    def note(self, rows: int, seconds: float) -> None:
        size = rows.bit_length()
        self.taken[size] = (self.taken.get(size, _UNKNOWN)[1], seconds)


class Batcher:
    """Belongs to one event loop. `threads` run what is not run on the loop; `batch_rows` and `queued_rows`: see `Limits`."""

    def __init__(self, threads: int, batch_rows: int, queued_rows: int) -> None:
        self._threads = threads
        self._batch_rows = batch_rows
        self._queued_rows = queued_rows
        self._executor = ThreadPoolExecutor(threads, "inference")
        self._lines: WeakKeyDictionary[Model, _Line] = WeakKeyDictionary()

    async def run(self, model: Model, inputs: Arrays, expires: float = float("inf")) -> Arrays:
        """Return the graph's outputs for `inputs`.

        Raises Overloaded where too many rows wait already, Expired when `expires` has passed before its turn, and what
        the back end raises.
        """
        line = self._lines.get(model)
        if line is None:
            line = self._lines[model] = _Line()
        rows = _rows(inputs)
        if line.rows and line.rows + rows > self._queued_rows:
            raise Overloaded(
                f"at most {self._queued_rows} rows wait for model {model.name}, {line.rows} do; ask again later, or start "
                "more workers"
            )
        if not line.waiting and not line.running and line.expected(rows) < DIRECT_SECONDS:
            return _direct(model, line, inputs, rows)
        loop = asyncio.get_running_loop()
        waiting = _Waiting(inputs, rows, _shape(model, inputs), expires, loop.create_future())
        line.waiting.append(waiting)
        line.rows += rows
        self._call(loop, model, line)
        return await waiting.answered

    def close(self) -> None:
        self._executor.shutdown()

    def _call(self, loop: asyncio.AbstractEventLoop, model: Model, line: _Line) -> None:
        if not line.called and line.running < self._threads:
            line.called = True
            loop.call_soon(self._flush, loop, model, line)

    def _flush(self, loop: asyncio.AbstractEventLoop, model: Model, line: _Line) -> None:
        line.called = False
        batch = self._take(model, line)
        if not batch:
            return
        rows = sum(waiting.rows for waiting in batch)
        metrics.observe_batch(model.name, rows, line.rows)
        parts = [batch]
        if line.expected(rows) < INLINE_SECONDS:
            parts = _done(line, batch, *_timed(model, batch))
        if parts:
            line.running += 1
            loop.create_task(self._run_in_thread(loop, model, line, parts))
        if line.waiting:
            self._call(loop, model, line)

    async def _run_in_thread(
        self, loop: asyncio.AbstractEventLoop, model: Model, line: _Line, parts: list[list[_Waiting]]
    ) -> None:
        for batch in parts:
            made = await loop.run_in_executor(self._executor, _timed, model, batch)
            parts += _done(line, batch, *made)
        line.running -= 1
        if line.waiting:
            self._call(loop, model, line)

    def _take(self, model: Model, line: _Line) -> list[_Waiting]:
        """Take the first that waits, and those behind it that fit into its batch."""
        batch: list[_Waiting] = []
        rows, now = 0, time.monotonic()
        while line.waiting:
            first = line.waiting[0]
            if batch and (first.shape != batch[0].shape or rows + first.rows > self._batch_rows or not first.shape):
                break
            line.waiting.popleft()
            line.rows -= first.rows
            if first.answered.done():  # its caller went away
                continue
            if first.expires < now:
                first.answered.set_exception(
                    Expired(f"the deadline passed while model {model.name} was busy; ask again")
                )
                continue
            batch.append(first)
            rows += first.rows
        return batch


def _rows(inputs: Arrays) -> int:
    return next((len(array) if array.ndim else 1 for array in inputs.values()), 1)


def _shape(model: Model, inputs: Arrays) -> tuple[object, ...]:
    """Return what arrays that run together have in common; () for those that run alone."""
    if not model.batchable:
        return ()
    return tuple((name, array.shape[1:]) for name, array in inputs.items())


def _direct(model: Model, line: _Line, inputs: Arrays, rows: int) -> Arrays:
    metrics.observe_batch(model.name, rows, 0)
    began = time.perf_counter()
    outputs = _chunked(model, inputs)
    line.note(rows, time.perf_counter() - began)
    return outputs


def _done(line: _Line, batch: list[_Waiting], outputs: Arrays | Exception, taken: float) -> list[list[_Waiting]]:
    """Tell who waits; return what is to run again: each of a batch that failed by itself, as one must not take others with it."""
    if isinstance(outputs, Exception) and len(batch) > 1:
        return [[waiting] for waiting in batch]
    if not isinstance(outputs, Exception):  # how long a failure takes says nothing
        line.note(sum(waiting.rows for waiting in batch), taken)
    _tell(batch, outputs)
    return []


def _timed(model: Model, batch: list[_Waiting]) -> tuple[Arrays | Exception, float]:
    began = time.perf_counter()
    outputs: Arrays | Exception
    try:
        inputs = batch[0].inputs
        if len(batch) > 1:
            inputs = {name: np.concatenate([waiting.inputs[name] for waiting in batch]) for name in inputs}
        outputs = _chunked(model, inputs)
    except Exception as error:  # what runtimes raise shares no base
        outputs = error
    return outputs, time.perf_counter() - began


def _chunked(model: Model, inputs: Arrays) -> Arrays:
    """Run many rows in parts: bounds the memory of graphs that expand a row into several."""
    rows = _rows(inputs)
    if rows <= CHUNK or not model.batchable:
        return model.session.run(inputs)
    parts = [
        model.session.run({name: array[at : at + CHUNK] for name, array in inputs.items()})
        for at in range(0, rows, CHUNK)
    ]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _tell(batch: list[_Waiting], outputs: Arrays | Exception) -> None:
    at = 0
    for waiting in batch:
        if waiting.answered.done():
            at += waiting.rows
        elif isinstance(outputs, Exception):
            waiting.answered.set_exception(outputs)
        elif len(batch) == 1:
            waiting.answered.set_result(outputs)
        else:
            rows = slice(at, at + waiting.rows)
            waiting.answered.set_result({name: array[rows] for name, array in outputs.items()})
            at += waiting.rows
