"""GIFT-Eval's protocol on the fleet of Bitbrains (bitbrains_rnd): series, windows, MASE and CRPS.

Two variates of 500 VMs, CPU in MHz and in % of what is provisioned, on a 5-minute grid of 30 days, are 1,000 series. The last
`windows` x `horizon` steps are the test: forecasts are made at the start of each window, all before may be used. MASE of a
window is its MAE over the measured steps divided by the series' seasonal-naive MAE of all that lies before the window;
windows without either are skipped (Aksu et al., GIFT-Eval, 2024; Hyndman and Koehler, 2006).

`block` counts backwards from the test, which is 0: blocks 1, 2, 3 are as long as the test, lie before it, and are what is
chosen on. Whoever asks for a block gets no step after it, and no block but 0 shows a step of the test.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fleetml.data import STEP_SECONDS
from fleetml.errors import InvalidData, InvalidParameter
from fleetml.learn import metrics
from fleetml.learn.windows import Floats, Meta, Windows

Values = npt.NDArray[np.float64]
VARIATES = ("cpu_mhz", "cpu_pct")
VMS, STEPS = 500, 8_640
LEVELS = tuple(round(0.1 * place, 1) for place in range(1, 10))
_WORST = 5
# The windows know no calendar; the grid begins here (UTC).
_START = np.datetime64("2013-06-30T22:00", "us")


@dataclass(frozen=True)
class Task:
    """One row of the published table: `horizon` and `season` in steps of `step_seconds`, `windows` at the series' end."""

    name: str
    step_seconds: int
    season: int
    horizon: int
    windows: int


TASKS = {
    task.name: task
    for task in (
        Task("5T/short", STEP_SECONDS, 288, 48, 18),
        Task("5T/medium", STEP_SECONDS, 288, 480, 2),
        Task("5T/long", STEP_SECONDS, 288, 720, 2),
        Task("H/short", 3600, 24, 48, 2),
    )
}


def task(name: str) -> Task:
    """Return the task of that name. Raises InvalidParameter."""
    if name not in TASKS:
        raise InvalidParameter(
            f"a task of bitbrains_rnd must be one of {list(TASKS)}, got {name!r}; choose one of them"
        )
    return TASKS[name]


def series(path: Path, wanted: Task, variates: Sequence[str] = VARIATES) -> Values:
    """Return the series [len(variates) * 500, steps], the VMs of one variate after the other; NaN: missing.

    Hourly values are means of what was measured in the hour. Raises InvalidData for a file that is not this grid.
    """
    import polars as pl

    try:
        table = pl.read_parquet(path, columns=["vm", "k", *variates]).sort("vm", "k")
        found = np.stack([table[name].to_numpy().reshape(VMS, STEPS) for name in variates])
    except (OSError, pl.exceptions.PolarsError, ValueError) as error:
        raise InvalidData(
            f"bitbrains_rnd must be {VMS} VMs x {STEPS} steps of vm, k, {', '.join(variates)}, got {path} ({error}); "
            "give the file gift_2013-07_cpu_5min.parquet"
        ) from error
    values = found.reshape(-1, STEPS).astype(np.float64)
    bins = wanted.step_seconds // STEP_SECONDS
    return values if bins == 1 else _means(values, bins)


def _means(values: Values, bins: int) -> Values:
    """Return the mean of each `bins` steps, [N, steps / bins], over those that were measured."""
    parts = values.reshape(len(values), -1, bins)
    counts = (~np.isnan(parts)).sum(axis=2)
    return np.divide(np.nansum(parts, axis=2), counts, out=np.full(counts.shape, np.nan), where=counts > 0)


def origins(wanted: Task, steps: int, block: int = 0) -> npt.NDArray[np.intp]:
    """Return the place of the first step of each window of a block of a series of `steps` steps, rising."""
    span = wanted.horizon * wanted.windows
    return steps - (block + 1) * span + wanted.horizon * np.arange(wanted.windows)


def seasonal_errors(values: Values, season: int, at: Sequence[int] | npt.NDArray[np.intp]) -> Values:
    """Return the seasonal-naive MAE of all that lies before each place, [N, places]; NaN where there is none."""
    apart = np.abs(values[:, season:] - values[:, :-season])
    before = ((0, 0), (1, 0))
    sums = np.pad(np.nancumsum(apart, axis=1), before)
    counts = np.pad(np.cumsum(~np.isnan(apart), axis=1), before)
    ends = np.maximum(np.asarray(at) - season, 0)
    return np.divide(
        sums[:, ends], counts[:, ends], out=np.full((len(values), len(ends)), np.nan), where=counts[:, ends] > 0
    )


def cut(values: Values, at: Sequence[int] | npt.NDArray[np.intp], wanted: Task, context: int) -> Windows:
    """Cut windows [N * places], the series of one place after the other, the last `context` steps as history.

    History keeps NaN, but for a gap at its beginning, which is filled with the value before it, 0 where there is none.
    `scale` is the seasonal error at the window. `vm_id` is the row of `values`, as text.
    """
    filled = forward_filled(values)
    scales = seasonal_errors(values, wanted.season, at)
    history = np.concatenate([_history(values, filled, place, context) for place in at])
    target = np.concatenate([values[:, place : place + wanted.horizon] for place in at])
    names = np.array([str(row) for row in range(len(values))])
    times = _START + (np.asarray(at) - 1) * np.timedelta64(wanted.step_seconds, "s")
    return Windows(
        vm_id=np.tile(names, len(at)),
        origin=np.repeat(times, len(values)),
        history=history,
        covariates=np.empty((len(history), 0), np.float32),
        target=target.astype(np.float32),
        scale=scales.T.ravel().astype(np.float32),
        meta=meta(wanted, context),
    )


def meta(wanted: Task, context: int) -> Meta:
    """Return what the windows of a task are."""
    return Meta("cpu", wanted.step_seconds, context, wanted.horizon, wanted.season)


def _history(values: Values, filled: Values, place: int, context: int) -> Floats:
    begin = max(0, place - context)
    found = values[:, begin:place].copy()
    first = np.isnan(found).cumprod(axis=1).astype(bool)
    found[first] = filled[:, begin:place][first]
    short = context - found.shape[1]
    return np.pad(found, ((0, 0), (short, 0)), mode="edge").astype(np.float32)


def forward_filled(values: Values) -> Values:
    """Return the values with each gap filled by the value before it; 0 before the first."""
    places = np.where(np.isnan(values), 0, np.arange(values.shape[1]))
    return np.nan_to_num(np.take_along_axis(values, np.maximum.accumulate(places, axis=1), axis=1))


def figures(windows: Windows, quantiles: Floats, levels: Sequence[float] = LEVELS) -> dict[str, float]:
    """Return MASE and CRPS of quantiles [N, horizon, Q], and the MASE without the five series whose mean is greatest.

    A few series that all but stood still before the window decide the mean; both figures together show it.
    """
    errors = metrics.window_mase(windows, quantiles[..., list(levels).index(0.5)])
    means = {name: metrics.mean(errors[windows.vm_id == name]) for name in np.unique(windows.vm_id)}
    worst = sorted(means, key=lambda name: np.nan_to_num(means[name]))[-_WORST:]
    return {
        "mase": metrics.mean(errors),
        "mase_without_5": metrics.mean(errors[~np.isin(windows.vm_id, worst)]),
        "crps": metrics.crps(windows, quantiles, levels),
    }


def published(path: Path, wanted: Task) -> dict[str, tuple[float, float]]:
    """Return {model: (MASE, CRPS)} of the published table's rows of this task, those that saw the test left out."""
    import polars as pl

    leaked = ("TurkForecast", "tempo_ensemble")
    table = pl.read_csv(path).filter(pl.col("dataset") == f"bitbrains_rnd/{wanted.name}")
    rows = table.select("folder", "MASE[0.5]", "mean_weighted_sum_quantile_loss").iter_rows()
    return {name: (mase, loss) for name, mase, loss in rows if not name.startswith(leaked)}
