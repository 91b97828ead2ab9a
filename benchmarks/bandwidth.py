"""Bandwidth of 150 VMs of Bitbrains over a month (needs ../shared): how much of it the mixture tells right, 1 - WAPE.

The last 20 % of the month are held out: windows of an hour and of four, one behind the other. A VM is of the predictable half if the WAPE of
its seasonal naive on the first 80 % is below the median VM's; the rule sees no held-out step. VMs that moved no byte there are
neither. WAPE = sum |y - f| / sum |y|, over all steps of the half (pooled, so the busy VMs decide), and of the median VM.
Hourly: means of twelve steps of forecast and truth.

    python -m benchmarks bandwidth                # validation: blocks 2 and 1, which lie before what is held out
    BENCH_TEST=1 python -m benchmarks bandwidth   # what is held out, block 0, once for each configuration

Blocks 2 and 1 are as long as what is held out, one behind the other before it: all choosing is done on them. The head of the learnt mixture is
fitted to the half's VMs, to all that lies before the block, for an hour ahead; its loss counts kB/s as WAPE does. A result is a line
of benchmarks/results/bandwidth.jsonl, fold the block; a configuration that has one is told from there. BENCH_MINUTES (30) bounds the run.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from benchmarks import cells
from benchmarks.cells import Cell
from benchmarks.gift_eval import untrained
from fleetml.learn import gift_eval
from fleetml.learn.experts import Memory
from fleetml.learn.forecaster import Forecaster
from fleetml.learn.gift_eval import Task, Values
from fleetml.learn.windows import Floats, Windows

FILE = Path(__file__).parents[2] / "shared/data/bitbrains_rnd/vm001-150_2013-08_all_metrics.parquet"
VMS, STEPS = 150, 8_640
START = 1375308000  # s, UTC: the first step of the file's month
HELD_OUT = 0.2
GOAL = 0.85
NAME = "bandwidth"
UNTRAINED, LEARNT, NAIVE = "mixture of 34, untrained", "mixture of 34, learnt for WAPE", "seasonal naive"
EVERY = 12  # steps between the windows that are learnt from
SHORT = gift_eval.task("5T/short")
# How far ahead, and where the experts are tried: the last half day, the last day.
AHEAD = {"an hour ahead": (12, Memory(12, 12, 12)), "four hours ahead": (48, Memory(6, 48, 48))}


def run() -> Iterator[tuple[str, float, str]]:
    """Yield 1 - WAPE of the predictable half and of all VMs, of each system and block."""
    if not FILE.exists():
        yield "skipped: ../shared/data/bitbrains_rnd is not there", 0.0, ""
        return
    wanted = cells_wanted()
    minutes = float(os.environ.get("BENCH_MINUTES", "30"))
    print(f"{NAME}: {cells.run(wanted, _command, NAME, minutes, lanes=1)}", flush=True)
    found = cells.latest(NAME)
    for cell in wanted:
        part = f"{cell.system}, {cell.data}, {f'validation {cell.fold}' if cell.fold else 'held out'}"
        for name, value in found.get(cell, {"figures": {"failed": 0}})["figures"].items():
            yield (
                f"{part}{', ' if name else ''}{name}",
                value if name != "failed" else float("nan"),
                _verdict(cell, name, value),
            )


def cells_wanted() -> list[Cell]:
    """Return the cells of the validation blocks, or of what is held out where BENCH_TEST is set."""
    folds = (0,) if os.environ.get("BENCH_TEST") else (2, 1)
    learnt = [Cell(NAME, LEARNT, "an hour ahead", fold, 0, 600.0) for fold in folds]
    return learnt + [
        Cell(NAME, name, ahead, fold, 0, 300.0) for ahead in AHEAD for fold in folds for name in (UNTRAINED, NAIVE)
    ]


def _command(cell: Cell) -> list[str]:
    return [sys.executable, "-m", "benchmarks.bandwidth", cell.text]


def _verdict(cell: Cell, name: str, value: float) -> str:
    if cell.fold or cell.system == NAIVE or not name.endswith("1 - WAPE, predictable half"):
        return ""
    return f"  ({'met' if value >= GOAL else 'NOT MET'}: at least {GOAL:g})"


def measure(cell: Cell) -> dict[str, float]:
    """Return the figures of one system on one block, by its graph."""
    values = series()
    half = predictable(values, SHORT.season)  # of the first four fifths, whatever the block: which VMs are told about
    end = STEPS - cell.fold * int(HELD_OUT * STEPS)
    horizon, memory = AHEAD[cell.data]
    task = replace(SHORT, horizon=horizon, windows=int(HELD_OUT * STEPS) // horizon)
    places = gift_eval.origins(task, end)
    windows = gift_eval.cut(values, places, task, memory.context(task.season))
    if cell.system == NAIVE:
        before = gift_eval.forward_filled(values)[:, places[:, None] - task.season + np.arange(horizon)]
        forecast = before.swapaxes(0, 1).reshape(-1, horizon).astype(np.float32)
    else:
        graph = (
            untrained(task, memory)
            if cell.system == UNTRAINED
            else learnt(values[half, : places[0]], task, memory, cell.seed)
        )
        forecast = Forecaster(graph).predict(windows.history, windows.covariates)
    return dict(_figures(windows, forecast, half))


def learnt(values: Values, task: Task, memory: Memory, seed: int) -> bytes:
    """Return the graph of the mixture whose head is fitted to all windows of `values` [N, steps], an hour from each other."""
    import torch

    from fleetml.learn import export
    from fleetml.learn.mixture_training import Examples, Recipe, fit
    from fleetml.learn.quantiles import LEVELS

    torch.set_num_threads(1)
    context = memory.context(task.season)
    parts = (
        gift_eval.cut(values, [at], task, context) for at in range(context, values.shape[1] - task.horizon + 1, EVERY)
    )
    # A scale that is 1 throughout: every window with a target is learnt from.
    examples = Examples.of((replace(part, scale=np.ones_like(part.scale)) for part in parts), memory)
    counted = replace(examples, weight=torch.ones_like(examples.weight) / examples.unit.mean())
    meta = gift_eval.meta(task, context)
    network = fit(counted, meta, memory, Recipe(), seed)
    model = export.from_torch(network, meta, {**asdict(memory), "seed": seed}, LEVELS)
    return bytes(model.SerializeToString())


def _figures(windows: Windows, forecast: Floats, half: Values) -> Iterator[tuple[str, float]]:
    for span, steps in (("hourly means", 12), ("5-minute steps", 1)):
        missed, moved = sums(windows, forecast, steps)
        yield f"{span}: 1 - WAPE, predictable half", float(1 - missed[half].sum() / moved[half].sum())
        busy = half & (moved > 0)
        yield f"{span}: its median VM", float(1 - np.median(missed[busy] / moved[busy]))
        yield f"{span}: 1 - WAPE, all VMs", float(1 - missed.sum() / moved.sum())


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


if __name__ == "__main__":
    print(json.dumps(measure(Cell.of(sys.argv[1]))))
