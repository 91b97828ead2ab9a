"""Bandwidth of 150 VMs of Bitbrains over a month (needs ../shared): how much of it the untrained mixture tells right, 1 - WAPE.

The last 20 % of the month are held out: windows of an hour and of four, one behind the other. A VM is of the predictable half if the WAPE of
its seasonal naive on the first 80 % is below the median VM's; the rule sees no held-out step. VMs that moved no byte there are
neither. WAPE = sum |y - f| / sum |y|, over all steps of the half (pooled, so the busy VMs decide), and of the median VM.
Hourly: means of twelve steps of forecast and truth.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.gift_eval import untrained
from fleetml.learn import gift_eval
from fleetml.learn.experts import Memory
from fleetml.learn.forecaster import Forecaster
from fleetml.learn.gift_eval import Values
from fleetml.learn.windows import Floats, Windows

FILE = Path(__file__).parents[2] / "shared/data/bitbrains_rnd/vm001-150_2013-08_all_metrics.parquet"
VMS, STEPS = 150, 8_640
START = 1375308000  # s, UTC: the first step of the file's month
HELD_OUT = 0.2
GOAL = 0.85
SHORT = gift_eval.task("5T/short")
# How far ahead, and where the experts are tried: the last half day, the last day.
AHEAD = {"an hour ahead": (12, Memory(12, 12, 12)), "four hours ahead": (48, Memory(6, 48, 48))}


def run() -> Iterator[tuple[str, float, str]]:
    """Yield 1 - WAPE of the predictable half and of all VMs, beside that of the seasonal naive."""
    if not FILE.exists():
        yield "skipped: ../shared/data/bitbrains_rnd is not there", 0.0, ""
        return
    values = series()
    half = predictable(values, SHORT.season)
    yield "VMs of the predictable half", float(half.sum()), ""
    for ahead, (horizon, memory) in AHEAD.items():
        task = replace(SHORT, horizon=horizon, windows=int(HELD_OUT * STEPS) // horizon)
        places = gift_eval.origins(task, STEPS)
        windows = gift_eval.cut(values, places, task, memory.context(task.season))
        graph = Forecaster(untrained(task, memory))
        before = gift_eval.forward_filled(values)[:, places[:, None] - task.season + np.arange(horizon)]
        forecasts = {
            "mixture": graph.predict(windows.history, windows.covariates),
            "seasonal naive": before.swapaxes(0, 1).reshape(-1, horizon).astype(np.float32),
        }
        for name, forecast in forecasts.items():
            yield from _figures(f"{name}, {ahead}", windows, forecast, half, GOAL if name == "mixture" else None)


def _figures(
    name: str, windows: Windows, forecast: Floats, half: Values, goal: float | None
) -> Iterator[tuple[str, float, str]]:
    for span, steps in (("hourly means", 12), ("5-minute steps", 1)):
        missed, moved = sums(windows, forecast, steps)
        share = 1 - missed[half].sum() / moved[half].sum()
        verdict = f"  ({'met' if share >= goal else 'NOT MET'}: at least {goal:g})" if goal else ""
        yield f"{name}, {span}: 1 - WAPE, predictable half", share, verdict
        busy = half & (moved > 0)
        yield f"{name}, {span}: its median VM", 1 - float(np.median(missed[busy] / moved[busy])), ""
        yield f"{name}, {span}: 1 - WAPE, all VMs", 1 - missed.sum() / moved.sum(), ""


def series() -> Values:
    """Return bandwidth [VMS, STEPS] in kB/s, received and sent, the mean in each 5 minutes; NaN: missing."""
    import polars as pl

    step = ((pl.col("ts") - START) // 300).alias("step")
    moved = (pl.col("net_rx_kbs") + pl.col("net_tx_kbs")).mean().alias("moved")
    table = (
        pl.scan_parquet(FILE).group_by("vm", step).agg(moved).filter(pl.col("step").is_between(0, STEPS - 1)).collect()
    )
    values = np.full((VMS, STEPS), np.nan)
    values[table["vm"].to_numpy() - 1, table["step"].to_numpy()] = table["moved"].to_numpy()
    return values


def predictable(values: Values, season: int) -> np.ndarray:
    """Return which VMs [N] have, before what is held out, a WAPE of the seasonal naive below the median VM's."""
    known = values[:, : int((1 - HELD_OUT) * values.shape[1])]
    before, after = known[:, :-season], known[:, season:]
    both = ~np.isnan(before) & ~np.isnan(after)
    missed = np.where(both, np.abs(after - before), 0).sum(axis=1)
    moved = np.where(both, np.abs(after), 0).sum(axis=1)
    wape = np.divide(missed, moved, out=np.full(len(values), np.nan), where=moved > 0)
    return np.nan_to_num(wape, nan=np.inf) < np.nanmedian(wape)


def sums(windows: Windows, forecast: Floats, steps: int) -> tuple[Values, Values]:
    """Return sum |y - f| and sum |y| of each VM [VMS], over means of `steps` steps all of which were measured."""
    actual, said = (
        part.astype(np.float64).reshape(len(windows), -1, steps).mean(2) for part in (windows.target, forecast)
    )
    known = ~np.isnan(actual)
    missed = np.where(known, np.abs(actual - said), 0).sum(axis=1)
    moved = np.where(known, np.abs(actual), 0).sum(axis=1)
    vms = windows.vm_id.astype(int)
    return np.bincount(vms, missed, VMS), np.bincount(vms, moved, VMS)
