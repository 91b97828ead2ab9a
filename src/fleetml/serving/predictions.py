"""The prediction log: every forecast with the features it was made from, as Parquet, for the monitor.

    predictions/model=<name>/date=YYYY-MM-DD/<version>-<start>-<pid>.parquet

Columns: time (UTC), vm_id, model_version, horizon (steps), the feature columns (`fleetml.serving.features`),
predictions (list). Rows are buffered and written once a second by a thread; a file is rewritten (aside, renamed)
until it is full, so a quiet server does not leave a file a second. A crash loses at most the last second.
"""

import asyncio
import logging
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fleetml.learn.windows import Floats, Meta
from fleetml.serving import features
from fleetml.serving.deployment import PREDICTIONS
from fleetml.serving.model import Model

FLUSH_SECONDS = 1.0
ROWS_PER_FILE = 5_000
BUFFERED_ROWS = 20_000
"""Rows kept at most while the disk refuses them; then the oldest go."""

log = logging.getLogger(__name__)


def schema(covariates: Sequence[str]) -> pa.Schema:
    """Return the columns of the log of a model with these covariates."""
    return pa.schema(
        [
            pa.field("time", pa.timestamp("us", "UTC"), False),
            pa.field("vm_id", pa.string(), False),
            pa.field("model_version", pa.string(), False),
            pa.field("horizon", pa.int32(), False, {"unit": "steps"}),
            *(pa.field(name, pa.float64()) for name in features.columns(covariates)),
            pa.field("predictions", pa.list_(pa.float64()), False),
        ]
    )


@dataclass(frozen=True)
class Row:
    """One answered request. history [1, context], covariates [1, C], forecast [steps]."""

    time: datetime
    vm_id: str
    history: Floats
    covariates: Floats
    forecast: Floats


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
    """Written under ``<root>/predictions``; `add` never blocks and never raises."""

    def __init__(self, root: Path) -> None:
        self._root = root / PREDICTIONS
        self._buffer: dict[_Key, tuple[Meta, list[Row]]] = {}
        self._parts: dict[_Key, _Part] = {}
        self._flushing = asyncio.Lock()
        self._thread = ThreadPoolExecutor(1, "prediction-log")
        pa.array([0.0])  # the first array makes Arrow import pandas: better now than during the first requests

    def add(self, model: Model, vm_id: str, history: Floats, covariates: Floats, forecast: Floats) -> None:
        """Remember one forecast; it is on disk within `FLUSH_SECONDS`."""
        now = datetime.now(UTC)
        key = (model.name, model.version, now.date().isoformat())
        _, rows = self._buffer.setdefault(key, (model.meta, []))
        rows.append(Row(now, vm_id, history, covariates, forecast))

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
        for key, (meta, rows) in taken.items():
            try:
                await loop.run_in_executor(self._thread, self._write, key, meta, rows)
            except Exception as error:
                log.error("%d predictions of %s could not be logged yet: %s", len(rows), key[0], error)
                newer = self._buffer.get(key, (meta, []))[1]
                self._buffer[key] = (meta, [*rows, *newer][-BUFFERED_ROWS:])
        today = datetime.now(UTC).date().isoformat()
        self._parts = {key: part for key, part in self._parts.items() if key[2] >= today}

    def _write(self, key: _Key, meta: Meta, rows: list[Row]) -> None:
        part = self._parts.get(key) or _Part(self._path(key, rows[0].time))
        part = _Part(part.path, [*part.tables, _table(key[1], meta, rows)])
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
        return self._root / f"model={name}" / f"date={date}" / f"{version}-{start:%H%M%S%f}-{os.getpid()}.parquet"


def _table(version: str, meta: Meta, rows: list[Row]) -> pa.Table:
    history = np.concatenate([row.history for row in rows])
    covariates = np.concatenate([row.covariates for row in rows])
    made = features.values(history, covariates)
    columns = {
        "time": [row.time for row in rows],
        "vm_id": [row.vm_id for row in rows],
        "model_version": [version] * len(rows),
        "horizon": [len(row.forecast) for row in rows],
        **dict(zip(features.columns(meta.covariates), made.T, strict=True)),
        "predictions": [row.forecast.astype(np.float64) for row in rows],
    }
    return pa.table(columns, schema=schema(meta.covariates))
