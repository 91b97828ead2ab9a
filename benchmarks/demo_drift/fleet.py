"""The fleet that asks: the generator's VMs as time goes on, and a change put into their metrics from a moment on."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from components.features.table import feature_table
from feature_repo.definitions import REFERENCES
from fleetml.data import schema, synthetic

BEGIN = datetime(2026, 1, 5, tzinfo=UTC)
"""A Monday: the end of the first training data, the begin of the traffic."""
STEP = timedelta(seconds=schema.STEP_SECONDS)
PERIOD, BUSY, FACTOR = 12, 6, 5.0
"""The change: each hour something works for half of it, and the target is five times what it was."""
_MISSING = 0.2  # share of a history that may be held over from the value before, as in training
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Question:
    """What is asked about a VM: its history, oldest first, and the features of its last step by reference."""

    vm_id: str
    history: list[float]
    covariates: dict[str, float]


@dataclass(frozen=True)
class _Grid:
    """target [steps, VMs] NaN where nothing was measured, held [steps, VMs] each value until the next, features [steps, VMs, 6]."""

    target: Floats
    held: Floats
    features: Floats


class Fleet:
    """`days` of `vms` VMs from `BEGIN` - `before` days on. `vm_ids` are those of the columns of its grid."""

    def __init__(self, target: str, vms: int, before: int, days: int, seed: int) -> None:
        self.target = target
        self.begin = BEGIN - timedelta(days=before)
        self.end = self.begin + timedelta(days=before + days)
        fleet = synthetic.Fleet(vms=vms, seed=seed)
        self._table = synthetic.generate(fleet, self.end, before + days)
        self.vm_ids = sorted(self._table["vm_id"].unique())
        self._grid = self._wide()

    def change(self, at: datetime) -> None:
        """Put the change into everything from `at` on."""
        step = pl.col("timestamp").dt.epoch("s") // schema.STEP_SECONDS
        phase = 7 * pl.col("vm_id").str.extract(r"(\d+)$").cast(pl.Int64)  # each VM at a time of its own
        changed = (pl.col("timestamp") >= at) & ((step + phase) % PERIOD < BUSY)
        columns = schema.target_columns(self.target)
        limits = {column.name: column.limit for column in schema.COLUMNS}
        factor = pl.when(changed).then(FACTOR).otherwise(1.0)
        self._table = self._table.with_columns(
            (pl.col(name) * factor).clip(upper_bound=limits[name]) for name in columns
        )
        self._grid = self._wide()

    def write(self, path: Path, until: datetime) -> None:
        """Write what was measured before `until`, as the canonical table."""
        schema.write(self._table.filter(pl.col("timestamp") < until), path)

    def questions(self, origin: datetime, context: int) -> list[Question]:
        """Return what a scheduler asks at `origin`, which is on the grid: about each VM that was measured then."""
        grid, at = self._grid, int((origin - self.begin) / STEP)
        history, measured = grid.held[at - context + 1 : at + 1], ~np.isnan(grid.target[at - context + 1 : at + 1])
        known = measured[-1] & (measured.mean(axis=0) >= 1 - _MISSING) & ~np.isnan(history[0])
        return [
            Question(self.vm_ids[vm], history[:, vm].tolist(), _known(grid.features[at, vm]))
            for vm in np.flatnonzero(known)
        ]

    def _wide(self) -> _Grid:
        table = feature_table(self._table.lazy())
        row = ((table["event_timestamp"] - self.begin).dt.total_seconds() // schema.STEP_SECONDS).to_numpy()
        vm = np.searchsorted(self.vm_ids, table["vm_id"].to_numpy())
        steps = int((self.end - self.begin) / STEP)
        features = np.full((steps, len(self.vm_ids), len(REFERENCES)), np.nan)
        names = [reference.partition(":")[2] for reference in REFERENCES]
        features[row, vm] = table.select(names).to_numpy()
        target = features[:, :, names.index(schema.TARGETS[self.target])]
        return _Grid(target, _held(target), features)


def _held(values: Floats) -> Floats:
    """Return values [steps, VMs] with each held until the next."""
    last = np.maximum.accumulate(np.where(np.isnan(values), 0, np.arange(len(values))[:, None]), axis=0)
    return np.take_along_axis(values, last, axis=0)


def _known(row: Floats) -> dict[str, float]:
    return {name: float(value) for name, value in zip(REFERENCES, row, strict=True) if np.isfinite(value)}
