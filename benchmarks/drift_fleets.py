"""Fleets of the drift study: real series as the monitor sees them, with or without a change put into their metrics."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

DATA = Path(__file__).resolve().parents[2] / "shared/data"
AUGUST = DATA / "bitbrains_rnd/vm001-150_2013-08_all_metrics.parquet"
JULY = DATA / "bitbrains_rnd/gift_2013-07_cpu_5min.parquet"
NOISE = DATA / "azure_vm_noise/azure_vm_noise.parquet"
SHIFTS = ("nothing", "mean", "scale", "seasonality", "one region", "missing metric")
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Fleet:
    """Metrics [steps, VMs] on a grid with `per_hour` steps; the first is forecast. `region` [VMs] numbers their regions.

    Features of an hour are those of the prediction log: mean, last and deviation of the target's last day, last of each.
    """

    name: str
    metrics: dict[str, Floats]
    per_hour: int
    region: npt.NDArray[np.integer]

    @property
    def columns(self) -> list[str]:
        return ["history_mean", "history_last", "history_std", *self.metrics]

    @property
    def days(self) -> int:
        """Whole days that have features: all but the first."""
        return len(next(iter(self.metrics.values()))) // (24 * self.per_hour) - 1

    def features(self, metrics: dict[str, Floats] | None = None) -> Floats:
        """Return [hours, VMs, features] from the second day on; of these metrics, else of its own."""
        metrics = metrics or self.metrics
        day = 24 * self.per_hour
        target = next(iter(metrics.values()))
        ends = np.arange(day, (self.days + 1) * day, self.per_hour)
        past = np.lib.stride_tricks.sliding_window_view(target, day, axis=0)[ends - day]
        figures = [past.mean(axis=-1), target[ends - 1], past.std(axis=-1)]
        return np.stack([*figures, *(values[ends - 1] for values in metrics.values())], axis=-1)

    def shifted(self, kind: str, day: int) -> dict[str, Floats]:
        """Return the metrics with a change of one of `SHIFTS` from the beginning of a day of `features` on.

        nothing is for comparison; mean: the target doubles; scale: it lies three times as far from its VM's mean; seasonality: it gets a daily cycle of
        0.1 to 1.9 times; one region: the target of the first region trebles; missing metric: the last one is gone.
        """
        changed = {name: values.copy() for name, values in self.metrics.items()}
        start = (day + 1) * 24 * self.per_hour
        target, last = changed[next(iter(changed))], changed[list(changed)[-1]]
        after = target[start:]
        if kind == "mean":
            after *= 2
        elif kind == "scale":
            mean = target.mean(axis=0)
            after[:] = np.maximum(mean + 3 * (after - mean), 0)
        elif kind == "seasonality":
            after *= 1 + 0.9 * np.sin(2 * np.pi * np.arange(len(after)) / (24 * self.per_hour))[:, None]
        elif kind == "one region":
            after[:, self.region == 0] *= 3
        elif kind == "missing metric":
            last[start:] = np.nan
        return changed


def bitbrains_august() -> Fleet:
    """150 VMs, a month, network, disk and memory beside the CPU; regions are every third VM (the trace names none)."""
    table = pd.read_parquet(AUGUST).drop_duplicates(["vm", "ts"])
    table["step"] = (table.ts - 1375308000) // 300
    table["network"] = table.net_rx_kbs + table.net_tx_kbs
    table["disk"] = table.disk_r_kbs + table.disk_w_kbs
    table["memory"] = 100 * table.mem_kb / table.mem_cap_kb.replace(0, np.nan)
    wanted = {"network": "network", "cpu": "cpu_pct", "disk": "disk", "memory": "memory"}
    grid = {name: _grid(table, "step", "vm", column, 31 * 288) for name, column in wanted.items()}
    return Fleet("Bitbrains, 150 VMs, August", grid, 12, np.arange(150) % 3)


def bitbrains_july(vms: int = 150) -> Fleet:
    """CPU of VMs of July, of which the gap in the middle is left out: 24 days."""
    table = pd.read_parquet(JULY)
    table = table[table.vm > 500 - vms]  # others than August's
    share = table.groupby(table.k // 288).cpu_pct.apply(lambda values: values.isna().mean())
    place = {day: number for number, day in enumerate(share.index[share < 0.2])}
    table = table[(table.k // 288).isin(place)]
    table["step"] = (table.k // 288).map(place) * 288 + table.k % 288
    grid = {name: _grid(table, "step", "vm", name, len(place) * 288) for name in ("cpu_pct", "cpu_mhz")}
    return Fleet(f"Bitbrains, CPU of {vms} VMs, July, {len(place)} days", grid, 12, np.arange(vms) % 3)


def azure_noise(days: int = 60) -> Fleet:
    """Five VMs of two regions, five measurements about every other hour, each held until the next; from 2023-07 on."""
    table = pd.read_parquet(NOISE)
    table["step"] = (pd.to_datetime(table.time, utc=True) - datetime(2023, 7, 1, tzinfo=UTC)) // pd.Timedelta("1h")
    table["machine"] = table.region.astype(str) + table.vm.astype(str)
    table = table[table.step.between(0, days * 24 - 1)]
    counts = table.groupby("metric", observed=True).machine.nunique()
    names = [str(name) for name in counts[counts == 5].index[::5][:5]]
    grids = {
        f"measurement {number}": _grid(table[table.metric == name], "step", "machine", "value", days * 24)
        for number, name in enumerate(names)
    }
    return Fleet(f"Azure VM noise, 5 VMs, {days} days", grids, 1, np.arange(5) // 3)


def synthetic(vms: int = 24, days: int = 26) -> Fleet:
    """The generator's fleet, for where the real series are not."""
    from fleetml.data.synthetic import Fleet as Generated
    from fleetml.data.synthetic import generate

    end = datetime(2026, 3, 2, tzinfo=UTC)
    table = generate(Generated(vms=vms, days=days), end).to_pandas()
    table["step"] = (table.timestamp - (pd.Timestamp(end) - pd.Timedelta(days=days))) // pd.Timedelta("5min")
    table["network"] = table.network_received + table.network_sent
    wanted = {"network": "network", "cpu": "cpu_usage", "memory": "memory_usage"}
    grid = {name: _grid(table, "step", "vm_id", column, days * 288) for name, column in wanted.items()}
    regions = table.groupby("vm_id").region.first().factorize()[0]
    return Fleet(f"synthetic, {vms} VMs", grid, 12, regions)


def _grid(table: pd.DataFrame, step: str, vm: str, column: str, steps: int) -> Floats:
    """Return a column as [steps, VMs], each value held until the next; what came before the first is the first."""
    wide = table.groupby([step, vm], observed=True)[column].mean().unstack()
    return np.asarray(wide.reindex(range(steps)).ffill().bfill().to_numpy(), np.float64)


REAL: dict[str, tuple[Path, Callable[[], Fleet]]] = {
    "august": (AUGUST, bitbrains_august),
    "july": (JULY, bitbrains_july),
    "azure": (NOISE, azure_noise),
}
