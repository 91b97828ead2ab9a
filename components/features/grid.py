"""Forecast windows cut from the feature table: per VM a dense grid, origins split by time."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import polars as pl

from fleetml.data import schema
from fleetml.errors import InvalidData
from fleetml.learn.windows import Floats, Meta, Windows

MISSING = 0.2  # share of a history that may have been filled forward
LEAST = 0.05  # of the median VM's scale: the smallest that counts
_STEP = np.timedelta64(schema.STEP_SECONDS, "s")
Times = npt.NDArray[np.datetime64]


@dataclass(frozen=True)
class Split:
    """Bounds in grid steps: targets of train end at `val`, those of val at `test`, those of test at `end`."""

    val: int
    test: int
    end: int

    @classmethod
    def of(cls, steps: int, meta: Meta, test_windows: int) -> Split:
        """Return the bounds of a grid of `steps`: val is as long as test. Raises InvalidData for too short a grid."""
        held_out = test_windows * meta.horizon
        needed = meta.context + meta.horizon + 2 * held_out
        if steps < needed:
            days = math.ceil(needed * meta.step_seconds / 86_400)
            most = (steps - meta.context - meta.horizon) // (2 * meta.horizon)
            fewer = f", or ask for test_windows of at most {most}" if most > 0 else ""
            raise InvalidData(
                f"{test_windows} held-out windows of {meta.horizon} steps, as many for validation, and one training window "
                f"after {meta.context} steps of history need {needed} steps of {meta.step_seconds} s, the data span "
                f"{steps}; give {days} days (window_days){fewer}"
            )
        return cls(steps - 2 * held_out, steps - held_out, steps)


@dataclass(frozen=True)
class Cut:
    """Windows of one VM at the origins `at` (grid steps of the last history value)."""

    vm: str
    at: npt.NDArray[np.intp]
    history: Floats
    target: Floats
    scale: float


@dataclass
class Cutter:
    """Cuts windows of one target from the feature table; `start` is the first step of the common grid."""

    table: pl.DataFrame
    column: str
    meta: Meta
    test_windows: int
    start: np.datetime64 = field(init=False)
    split: Split = field(init=False)

    def __post_init__(self) -> None:
        times = self.table["event_timestamp"]
        if times.is_empty():
            raise InvalidData("the feature table is empty; check the source and its window")
        known = times.dt.replace_time_zone(None).to_numpy().astype("datetime64[us]")
        first, last = known.min(), known.max()
        self.start = first
        self.split = Split.of(int((last - first) / _STEP) + 1, self.meta, self.test_windows)

    def vms(self) -> Iterator[tuple[str, Floats]]:
        """Yield each VM's target on the common grid [steps], NaN where nothing was measured."""
        wanted = self.table.select("vm_id", "event_timestamp", self.column)
        for (vm,), rows in wanted.group_by("vm_id", maintain_order=True):
            values = np.full(self.split.end, np.nan, np.float32)
            times = rows["event_timestamp"].dt.replace_time_zone(None).to_numpy().astype("datetime64[us]")
            values[((times - self.start) / _STEP).astype(np.intp)] = rows[self.column].to_numpy().astype(np.float32)
            yield str(vm), values

    def cut(self, stride: int) -> dict[str, list[Cut]]:
        """Return the windows of every VM by split; training origins are `stride` steps apart, the others a horizon."""
        found: dict[str, list[Cut]] = {"train": [], "val": [], "test": []}
        for vm, values in self.vms():
            scale = seasonal_mae(values[: self.split.val], self.meta.season)
            for name, origins in self._origins(stride).items():
                cut = self._at(vm, values, origins, scale)
                if len(cut.at):
                    found[name].append(cut)
        return floored(found)

    def _origins(self, stride: int) -> dict[str, npt.NDArray[np.intp]]:
        first, horizon = self.meta.context - 1, self.meta.horizon
        return {
            "train": np.arange(first, self.split.val - horizon, stride),
            "val": np.arange(self.split.val - 1, self.split.test - horizon, horizon),
            "test": np.arange(self.split.test - 1, self.split.end - horizon, horizon),
        }

    def _at(self, vm: str, values: Floats, origins: npt.NDArray[np.intp], scale: float) -> Cut:
        """Keep the origins whose history is mostly measured and whose target has a value at all."""
        past = np.lib.stride_tricks.sliding_window_view(values, self.meta.context)[origins - self.meta.context + 1]
        future = np.lib.stride_tricks.sliding_window_view(values, self.meta.horizon)[origins + 1]
        missing = np.isnan(past).mean(axis=1)
        kept = (missing <= MISSING) & ~np.isnan(future).all(axis=1)
        return Cut(vm, origins[kept], filled(past[kept]), future[kept].copy(), scale)

    def windows(self, cuts: list[Cut]) -> Windows:
        """Return cuts as windows, without covariates."""
        meta = replace(self.meta, covariates=())
        if not cuts:
            none = np.empty((0, 0), np.float32)
            empty = np.array([], "datetime64[us]")
            return Windows(np.array([], str), empty, none, none, none, np.array([], np.float32), meta)
        counts = [len(cut.at) for cut in cuts]
        return Windows(
            vm_id=np.repeat([cut.vm for cut in cuts], counts),
            origin=(self.start + np.concatenate([cut.at for cut in cuts]) * _STEP).astype("datetime64[us]"),
            history=np.concatenate([cut.history for cut in cuts]),
            covariates=np.empty((sum(counts), 0), np.float32),
            target=np.concatenate([cut.target for cut in cuts]),
            scale=np.repeat([cut.scale for cut in cuts], counts).astype(np.float32),
            meta=meta,
        )


def filled(history: Floats) -> Floats:
    """Return histories [N, context] with gaps filled forward, leading ones backward."""
    known = ~np.isnan(history)
    places = np.where(known, np.arange(history.shape[1]), 0)
    np.maximum.accumulate(places, axis=1, out=places)
    first = known.argmax(axis=1)[:, None]
    places = np.maximum(places, first)
    return np.take_along_axis(history, places, axis=1)


def seasonal_mae(values: Floats, season: int) -> float:
    """Return the MAE of the forecast "as one season before" over a VM's training span; NaN when it is not known."""
    error = np.abs(values[season:].astype(np.float64) - values[:-season])
    known = error[~np.isnan(error)]
    return float(known.mean()) if len(known) else float("nan")


def floored(found: dict[str, list[Cut]]) -> dict[str, list[Cut]]:
    """Return cuts whose scales are at least `LEAST` of the median VM's; what is 0 or unknown stays so.

    An error is judged against its VM's scale: one machine that stood all but still while models were trained would else
    outweigh all the others (seen: 1 VM of 453 at a 1000th of the median decided which model won).
    """
    scales = {cut.vm: cut.scale for cuts in found.values() for cut in cuts if cut.scale > 0}
    if not scales:
        return found
    least = LEAST * float(np.median(list(scales.values())))
    return {
        name: [replace(cut, scale=max(cut.scale, least)) if cut.scale > 0 else cut for cut in cuts]
        for name, cuts in found.items()
    }


def sampled(windows: Windows, most: int, seed: int) -> Windows:
    """Return at most `most` windows, drawn without replacement, in their order."""
    if len(windows) <= most:
        return windows
    return windows[np.sort(np.random.default_rng(seed).choice(len(windows), most, replace=False))]
