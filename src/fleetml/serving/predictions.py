"""The prediction log: every answer with the features it was made from, as Parquet, for monitor and rollout (ADR 10).

    predictions/model=<name>/date=YYYY-MM-DD/<version>-<start>-<pid>-<number>.parquet

Rows are buffered and written once a second by a thread; a file is rewritten (aside, renamed) until it is full, so a quiet
server does not leave a file a second. A crash loses at most the last second.
"""

import asyncio
import logging
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from fleetml.serving import metrics
from fleetml.serving.backends import Arrays
from fleetml.serving.deployment import PREDICTIONS
from fleetml.serving.model import Model

FLUSH_SECONDS = 1.0
ROWS_PER_FILE = 5_000
BUFFERED_ROWS = 20_000
"""Rows of a version kept at most while the disk refuses them or does not answer; then the oldest go."""

log = logging.getLogger(__name__)


def schema(features: Sequence[str]) -> pa.Schema:
    """Return the columns of the log of a model with these feature columns."""
    return pa.schema(
        [
            pa.field("time", pa.timestamp("us", "UTC"), False),
            pa.field("origin", pa.timestamp("us", "UTC"), False),
            pa.field("vm_id", pa.string(), False),
            pa.field("model_version", pa.string(), False),
            pa.field("role", pa.string(), False),
            pa.field("rollout", pa.string(), False),
            pa.field("horizon", pa.int32(), False, {"unit": "steps"}),
            pa.field("step_seconds", pa.int32(), False),
            pa.field("latency_ms", pa.float32(), False),
            pa.field("failure", pa.string(), False),
            *(pa.field(name, pa.float64()) for name in features),
            pa.field("predictions", pa.list_(pa.float64()), False),
        ]
    )


@dataclass(frozen=True, slots=True)
class Row:
    """What one version made of one question. `inputs` are those of its graph, None where it got none; `version` is its
    name also where it could not be loaded; `predictions` is empty where there is a `failure`.
    """

    time: datetime
    origin: datetime
    key: str
    version: str
    role: str
    rollout: str
    latency_ms: float
    inputs: Arrays | None
    predictions: npt.NDArray[Any]
    step_seconds: int
    failure: str = ""


@dataclass
class _Part:
    """The file being filled: what it holds so far."""

    path: Path
    tables: list[pa.Table] = field(default_factory=list)

    @property
    def rows(self) -> int:
        return sum(table.num_rows for table in self.tables)


_Key = tuple[str, str, str]  # model, version, date


class PredictionLog:
    """Written under ``<root>/predictions``; `add` never blocks and never raises. `lost` counts rows that were given up."""

    def __init__(self, root: Path) -> None:
        self._root = root / PREDICTIONS
        self._buffer: dict[_Key, tuple[Model, list[Row]]] = {}
        self._parts: dict[_Key, _Part] = {}
        self._flushing = asyncio.Lock()
        self._thread = ThreadPoolExecutor(1, "prediction-log")
        self.lost = 0
        self._begun = 0
        pa.array([0.0])  # the first array makes Arrow import pandas: better now than during the first requests

    def add(self, model: Model, row: Row) -> None:
        """Remember one answer; it is on disk within `FLUSH_SECONDS`. `model` made it, or stands in for one not loaded."""
        key = (model.name, row.version, row.time.date().isoformat())
        rows = self._buffer.setdefault(key, (model, []))[1]
        rows.append(row)
        if len(rows) > BUFFERED_ROWS:  # a write hangs (NFS): nobody takes them
            del rows[0]
            self._lose(1)
        metrics.logged(model.name).inc()

    async def run(self) -> None:
        """Flush until cancelled; a flush that is under way then goes on, and the next `flush` waits for it."""
        while True:
            await asyncio.sleep(FLUSH_SECONDS)
            await asyncio.shield(self.flush())

    async def flush(self) -> None:
        """Write what is buffered; what the disk refuses is kept for the next time."""
        async with self._flushing:
            await self._write_buffer()

    async def _write_buffer(self) -> None:
        taken, self._buffer = self._buffer, {}
        if not taken:
            return
        loop = asyncio.get_running_loop()
        for key, (model, rows) in taken.items():
            try:
                await loop.run_in_executor(self._thread, self._write, key, model, rows)
            except Exception as error:
                log.error("%d predictions of %s could not be logged yet: %s", len(rows), key[0], error)
                self._keep(key, model, rows)
        today = max(key[2] for key in taken)
        self._parts = {key: part for key, part in self._parts.items() if key[2] >= today}

    def _keep(self, key: _Key, model: Model, rows: list[Row]) -> None:
        """Put back what was not written, before what came since; the oldest beyond the limit are lost."""
        kept = [*rows, *self._buffer.get(key, (model, []))[1]]
        if (lost := len(kept) - BUFFERED_ROWS) > 0:
            self._lose(lost)
        self._buffer[key] = (model, kept[-BUFFERED_ROWS:])

    def _lose(self, rows: int) -> None:
        self.lost += rows
        metrics.LOST.inc(rows)

    def _write(self, key: _Key, model: Model, rows: list[Row]) -> None:
        part = self._parts.get(key) or _Part(self._path(key, rows[0].time))
        part = _Part(part.path, [*part.tables, _table(model, rows)])
        part.path.parent.mkdir(parents=True, exist_ok=True)
        aside = part.path.with_name(f".{part.path.stem}.part")  # no *.parquet: readers look for those
        try:
            pq.write_table(pa.concat_tables(part.tables), aside, compression="zstd")
            aside.replace(part.path)
        except BaseException:
            aside.unlink(missing_ok=True)
            raise
        if part.rows < ROWS_PER_FILE:
            self._parts[key] = part
        else:
            self._parts.pop(key, None)

    def _path(self, key: _Key, start: datetime) -> Path:
        name, version, date = key
        self._begun += 1  # a clock that jumps back must not name a file twice
        file = f"{version}-{start:%H%M%S%f}-{os.getpid()}-{self._begun}.parquet"
        return self._root / f"model={name}" / f"date={date}" / file


def _table(model: Model, rows: list[Row]) -> pa.Table:
    names = model.kind.columns(model.about)
    columns = {
        "time": [row.time for row in rows],
        "origin": [row.origin for row in rows],
        "vm_id": [row.key for row in rows],
        "model_version": [row.version for row in rows],
        "role": [row.role for row in rows],
        "rollout": [row.rollout for row in rows],
        "horizon": [len(row.predictions) for row in rows],
        "step_seconds": [row.step_seconds for row in rows],
        "latency_ms": [row.latency_ms for row in rows],
        "failure": [row.failure for row in rows],
        **dict(zip(names, _features(model, rows, len(names)).T, strict=True)),
        "predictions": [row.predictions.astype(np.float64) for row in rows],
    }
    return pa.table(columns, schema=schema(names))


def _features(model: Model, rows: list[Row], width: int) -> npt.NDArray[np.float64]:
    """Return the features [rows, width]; NaN in a row whose version got no inputs."""
    made = np.full((len(rows), width), np.nan)
    if asked := [place for place, row in enumerate(rows) if row.inputs is not None]:
        inputs = [found for row in rows if (found := row.inputs) is not None]
        made[asked] = model.kind.features(model.about, inputs)
    return made
