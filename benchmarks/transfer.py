"""Error against data used: the fleet's model on VMs it never saw, as it is, transferred, and one trained from scratch on the same days.

``MINUTES=20 python -m benchmarks transfer``: MINUTES bounds the time (default 40); what is done is kept in results/transfer.jsonl.
Two groups are held out. cores: CPU of the VMs with 8 cores or more, of a fleet of 1 to 4 cores (Bitbrains, August; 5 minutes;
tested on the last 7 days). region: 31 benchmark figures of 3 VMs in westus2, of the fleet in eastus (Azure VM noise; 2 hours;
tested on the last 60 days). DAYS of origins right before the test are used, the last quarter of them to judge by;
histories reach further back. Figures are MASE on the test, by the same scale of each series for all.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks import cells
from benchmarks.cells import Cell
from benchmarks.goals import Figure
from fleetml.learn import graph, metrics, network_training, transfer
from fleetml.learn.forecaster import Forecaster
from fleetml.learn.windows import Meta, Windows

DATA = Path(__file__).parents[2] / "shared/data"
NAME = "transfer"
DAYS = (0, 1, 2, 4, 8, 16)
SEEDS = (0, 1, 2)
MOST = 10_000
"""Windows that a network is trained on, at most: the fleet's are drawn."""
_SECONDS = 400.0
_FAMILY = "mlp"
_MISSING = 0.2
Values = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Group:
    """Series [VMs, steps] of the fleet and of the group held out; days of the test; `stride` between origins, in steps."""

    fleet: Values
    held: Values
    meta: Meta
    test_days: int
    stride: int

    @property
    def day(self) -> int:
        return 86_400 // self.meta.step_seconds


def cores() -> Group:
    """The VMs of Bitbrains by their cores."""
    import polars as pl

    table = pl.read_parquet(DATA / "bitbrains_rnd/vm001-150_2013-08_all_metrics.parquet")
    place = (pl.col("ts") - table["ts"].min()) // 300
    grid = table.group_by("vm", place.alias("k")).agg(pl.col("cpu_pct").mean())
    owned = dict(table.group_by("vm").agg(pl.col("cpu_cores").max()).iter_rows())
    values = _matrix(grid["vm"].to_numpy() - 1, grid["k"].to_numpy(), grid["cpu_pct"].to_numpy())
    many = np.array([owned[vm + 1] >= 8 for vm in range(len(values))])
    few = np.array([owned[vm + 1] in (1, 2, 4) for vm in range(len(values))])
    return Group(values[few], values[many], Meta(target="cpu"), 7, 24)


def region() -> Group:
    """The figures of Azure's VMs by region."""
    import polars as pl

    table = pl.read_parquet(DATA / "azure_vm_noise/azure_vm_noise.parquet").with_columns(
        pl.col("metric", "region").cast(pl.String)
    )
    place = (pl.col("time") - table["time"].min()).dt.total_hours() // 2
    grid = table.group_by("region", "metric", "vm", place.alias("k")).agg(pl.col("value").mean())
    found = {}
    for name in ("eastus", "westus2"):
        part = grid.filter(pl.col("region") == name)
        row = part.select(pl.struct("metric", "vm").rank("dense") - 1).to_series().to_numpy()
        found[name] = _matrix(row, part["k"].to_numpy(), part["value"].to_numpy())
    steps = min(values.shape[1] for values in found.values())
    meta = Meta(target="figure", step_seconds=7200, context=48, horizon=12, season=12)
    return Group(found["eastus"][:, :steps], found["westus2"][:, :steps], meta, 60, 6)


GROUPS = {"cores": cores, "region": region}


def _matrix(row: npt.NDArray[np.int64], column: npt.NDArray[np.int64], value: Values) -> Values:
    values = np.full((int(row.max()) + 1, int(column.max()) + 1), np.nan, np.float32)
    values[row, column] = value
    return values


def windows(values: Values, group: Group, begin: int, end: int) -> Windows:
    """Return the windows whose targets lie from step `begin` to `end`; scales are of all before the test."""
    meta, test = group.meta, values.shape[1] - group.test_days * group.day
    before = values[:, :test]
    apart = np.abs(before[:, meta.season :] - before[:, : -meta.season])
    scale = np.nansum(apart, axis=1) / np.maximum((~np.isnan(apart)).sum(axis=1), 1)
    scale = np.maximum(scale, 0.05 * np.median(scale))
    found: list[tuple[int, int]] = []
    for origin in range(max(begin, meta.context), end - meta.horizon + 1, group.stride):
        gaps = np.isnan(values[:, origin - meta.context : origin]).mean(axis=1)
        scored = ~np.isnan(values[:, origin : origin + meta.horizon]).all(axis=1) & (scale > 0)
        found += [(vm, origin) for vm in np.flatnonzero((gaps <= _MISSING) & scored)]
    vm, origin = np.array(found, int).reshape(-1, 2).T
    history = np.stack([values[v, o - meta.context : o] for v, o in found]) if found else np.empty((0, meta.context))
    target = np.stack([values[v, o : o + meta.horizon] for v, o in found]) if found else np.empty((0, meta.horizon))
    return Windows(
        vm_id=np.array([f"vm-{each}" for each in vm], str),
        origin=np.datetime64("2013-08-01", "us") + origin * np.timedelta64(meta.step_seconds, "s"),
        history=_filled(history.astype(np.float32)),
        covariates=np.empty((len(found), 0), np.float32),
        target=target.astype(np.float32),
        scale=scale[vm].astype(np.float32),
        meta=meta,
    )


def _filled(history: Values) -> Values:
    """Fill gaps forward, those at the beginning backward."""
    for direction in (slice(None), slice(None, None, -1)):
        turned = history[:, direction]
        last = np.maximum.accumulate(np.where(np.isnan(turned), 0, np.arange(turned.shape[1])), axis=1)
        history = np.take_along_axis(turned, last, axis=1)[:, direction]
    return np.ascontiguousarray(history)


def curve(group: Group, seed: int) -> dict[str, float]:
    """Return the MASE on the test of the held-out VMs by what was trained on how many days."""
    steps = group.held.shape[1]
    test_begin = steps - group.test_days * group.day
    test = windows(group.held, group, test_begin, steps)
    with tempfile.TemporaryDirectory() as scratch:
        fleet = _trained(group, group.fleet, 0, test_begin, seed, Path(scratch))
        found = {"windows": float(len(test)), "fleet": _score(fleet, test)}
        for days in DAYS:
            begin = test_begin - days * group.day
            middle = test_begin - days * group.day // 4
            few, held = windows(group.held, group, begin, middle), windows(group.held, group, middle, test_begin)
            made = transfer.transfer(graph.load(fleet), few, held, seed=seed)
            (Path(scratch) / "transferred").write_bytes(made.graph.SerializeToString())
            found[f"transferred {days}"] = _score(Path(scratch) / "transferred", test)
            found[f"moved {days}"] = float(made.mode != transfer.NONE)
            if len(few) and len(held):
                scratched = _trained(group, group.held, begin, test_begin, seed, Path(scratch))
                found[f"scratch {days}"] = _score(scratched, test)
    return found


def _trained(group: Group, values: Values, begin: int, end: int, seed: int, folder: Path) -> Path:
    """Train a network of the same shape on windows of these steps, the last quarter (of at most 4 days) to judge by."""
    middle = end - min((end - begin) // 4, 4 * group.day)
    parts = [_some(windows(values, group, *span), seed) for span in ((begin, middle), (middle, end))]
    files = [str(folder / name) for name in ("train", "val")]
    for part, file in zip(parts, files, strict=True):
        part.save(Path(file))
    target = folder / f"model-{begin}-{len(values)}"
    shape = network_training.complete(_FAMILY, {})
    network_training.run(network_training.Job(*files, _FAMILY, shape, 12, 128, seed, "", str(target)))
    return target


def _some(found: Windows, seed: int) -> Windows:
    """Return at most MOST windows, drawn."""
    if len(found) <= MOST:
        return found
    return found[np.sort(np.random.default_rng(seed).choice(len(found), MOST, replace=False))]


def _score(model: Path, test: Windows) -> float:
    return round(metrics.mase(test, Forecaster(model).forecast(test)), 4)


def run() -> Iterator[Figure]:
    """Compute what is missing, then yield the means over seeds."""
    wanted = [Cell(NAME, _FAMILY, data, 0, seed, _SECONDS) for seed in SEEDS for data in GROUPS]
    minutes = float(os.environ.get("MINUTES", "40"))
    command = [sys.executable, "-m", "benchmarks.transfer"]
    print(f"{NAME}: {cells.run(wanted, lambda cell: [*command, cell.text], NAME, minutes)}", flush=True)
    for data in GROUPS:
        lines = [line["figures"] for cell, line in cells.latest(NAME).items() if cell.data == data]
        told = [line for line in lines if "failed" not in line]
        for name in told[0] if told else ():
            values = [line[name] for line in told if name in line]
            yield (
                f"{data}: {name}",
                float(np.mean(values)),
                f"{_unit(name)}, {len(values)} seeds, from {min(values)} to {max(values)}",
            )


def _unit(name: str) -> str:
    units = {"windows": "windows of the test", "moved": "share in which the fleet's model was changed"}
    return units.get(name.split()[0], "MASE")


if __name__ == "__main__":
    import torch

    torch.set_num_threads(1)
    cell = Cell.of(sys.argv[1])
    print(json.dumps(curve(GROUPS[cell.data](), cell.seed)))
