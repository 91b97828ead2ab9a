"""A believable fleet of VMs where there is no data. Everything here is SYNTHETIC: invented, not measured.

Five classes of VM (two of them web) have daily and weekly cycles in their region's local time, bursts and
metrics that move together: network, latency and errors follow load, memory lags it, disk follows memory. Samples and
whole stretches are missing, some VMs are switched off at night and at weekends (zero capacity), every eighth comes
and goes. Each value is a pure function of (seed, VM, absolute time): two windows agree wherever they overlap.

A fleet is named by a URL, all options optional::

    synthetic://?vms=40&days=30&seed=7&drift=network:1.5,cpu:1.2&drift_start=2026-01-05

`drift` multiplies a group of metrics (cpu, memory, disk, network, latency, errors), from `drift_start`
(ISO 8601, UTC) on or, without it, throughout.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import numpy as np
import polars as pl

from fleetml.data import schema
from fleetml.data.noise import Floats, Integers, bursts, fractal, smooth, stepwise, uniform
from fleetml.errors import InvalidParameter

DAY = 86_400
CLASSES = ("web", "web", "batch", "database", "idle")
REGIONS = {"eu-central": 1.0, "us-east": -5.0, "ap-south": 5.5}  # hours from UTC
CHURN = 8  # every CHURN-th VM comes and goes
VMS_PER_HOST = 8
DRIFT_GROUPS = {
    "cpu": ("cpu_usage",),
    "memory": ("memory_usage",),
    "disk": ("disk_read", "disk_write"),
    "network": ("network_received", "network_sent"),
    "latency": ("latency",),
    "errors": ("error_rate",),
}


@dataclass(frozen=True)
class Fleet:
    """What distinguishes one synthetic fleet from another; `days` None: as long as the caller asks."""

    vms: int = 40
    days: float | None = None
    seed: int = 7
    step_seconds: int = schema.STEP_SECONDS
    drift: Mapping[str, float] = field(default_factory=dict)
    drift_start: datetime | None = None

    def __post_init__(self) -> None:
        rules = {
            "vms must be 1 to 100000": 1 <= self.vms <= 100_000,
            "days must be above 0": self.days is None or self.days > 0,
            "step_seconds must be 1 to 86400": 1 <= self.step_seconds <= DAY,
            "seed must be 0 or more": 0 <= self.seed < 2**31,
            f"drift groups are {', '.join(DRIFT_GROUPS)}": set(self.drift) <= set(DRIFT_GROUPS),
            "drift factors must be 0 or more": all(factor >= 0 for factor in self.drift.values()),
        }
        for rule, holds in rules.items():
            if not holds:
                raise InvalidParameter(f"synthetic fleet: {rule}; got {self}; correct the synthetic:// URL")


def parse(url: str) -> Fleet:
    """Return the fleet that a ``synthetic://?…`` URL names; raises InvalidParameter for what it does not know."""
    readers: dict[str, Callable[[str], Any]] = {
        "vms": int,
        "days": float,
        "seed": int,
        "step_seconds": int,
        "drift": _factors,
        "drift_start": instant,
    }
    options: dict[str, Any] = {}
    for name, text in parse_qsl(urlsplit(url).query, keep_blank_values=True):
        if name not in readers:
            raise InvalidParameter(f"{url}: unknown option {name!r}; known are {', '.join(readers)}")
        try:
            options[name] = readers[name](text)
        except ValueError as error:
            raise InvalidParameter(f"{url}: option {name} cannot be {text!r} ({error}); correct the URL") from None
    return Fleet(**options)


def instant(text: str) -> datetime:
    """Return an ISO 8601 time in UTC; a time without a zone is UTC. Raises ValueError."""
    moment = datetime.fromisoformat(text.strip().replace(" ", "T"))
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)


def _factors(text: str) -> dict[str, float]:
    pairs = (part.partition(":") for part in text.split(",") if part)
    return {name: float(factor) for name, _, factor in pairs}


def last_midnight() -> datetime:
    """Return the last midnight, UTC: where the synthetic fleet's data end by default."""
    return datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


def generate(fleet: Fleet, end: datetime | None = None, days: float = 30) -> pl.DataFrame:
    """Return the canonical table of the fleet for the `days` before `end` (exclusive; default: last midnight).

    `fleet.days` goes before `days`. The result is sorted by (vm_id, timestamp).
    """
    stop = int((end or last_midnight()).timestamp())
    start = stop - round((fleet.days or days) * DAY)
    step = fleet.step_seconds
    slot = np.arange(fleet.vms, dtype=np.int64)[:, None]
    # A VM samples at its own offset into the step, as agents do.
    offset = (uniform(fleet.seed, "offset", slot) * step).astype(np.int64)
    first = start // step
    seconds = np.arange(first, -(-stop // step), dtype=np.int64)[None, :] * step + offset
    present = (seconds >= start) & (seconds < stop) & _sampled(fleet.seed, slot, seconds)
    metrics = _Metrics(fleet.seed, slot, seconds).columns()
    _apply_drift(fleet, seconds, metrics)
    return _table(slot, seconds, present, metrics)


def _table(slot: Integers, seconds: Integers, present: np.ndarray, metrics: dict[str, Floats]) -> pl.DataFrame:
    names = pl.Series([f"{CLASSES[i % len(CLASSES)]}-{i:04d}" for i in slot[:, 0]], dtype=pl.String)
    regions = pl.Series([list(REGIONS)[i % len(REGIONS)] for i in slot[:, 0]], dtype=pl.String)
    racks = pl.Series([f"-host-{i // (len(REGIONS) * VMS_PER_HOST):03d}" for i in slot[:, 0]], dtype=pl.String)
    row = np.broadcast_to(slot, seconds.shape)[present]
    frame = pl.DataFrame({name: np.broadcast_to(values, seconds.shape)[present] for name, values in metrics.items()})
    timestamp = pl.Series("timestamp", seconds[present] * 1_000_000).cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
    texts = {"vm_id": names, "region": regions, "host": regions + racks}
    frame = frame.with_columns(timestamp, **{name: values.gather(row) for name, values in texts.items()})
    return schema.conform(frame.lazy()).fill_nan(None).sort(schema.KEY).collect()


def _apply_drift(fleet: Fleet, seconds: Integers, metrics: dict[str, Floats]) -> None:
    since = fleet.drift_start.timestamp() if fleet.drift_start else -np.inf
    for group, factor in fleet.drift.items():
        for name in DRIFT_GROUPS[group]:
            metrics[name] = np.where(seconds >= since, metrics[name] * factor, metrics[name])


def _sampled(seed: int, slot: Integers, seconds: Integers) -> np.ndarray:
    """Whether a sample was taken: not where the VM did not exist, nor in a gap, nor where one was lost."""
    lost = uniform(seed, "lost", slot, seconds) < 0.003
    gap = bursts(seed, "gap", slot, seconds, block=DAY, chance=0.05) > 0
    lifetime = (25 + 20 * uniform(seed, "lifetime", slot)) * DAY
    age = seconds / lifetime + uniform(seed, "birth", slot)
    exists = (slot % CHURN != CHURN - 1) | (age % 1.0 < 0.7)
    return exists & ~gap & ~lost


class _Metrics:
    """The metrics of all VMs at all times: arrays of shape [VM, time]."""

    def __init__(self, seed: int, slot: Integers, seconds: Integers) -> None:
        self.seed, self.slot, self.seconds = seed, slot, seconds
        zone = np.array([round(hours * 3600) for hours in REGIONS.values()], dtype=np.int64)
        local = seconds + zone[slot % len(zone)]
        self.day = local // DAY
        self.hour = (local - self.day * DAY) / 3600.0
        self.weekend = (self.day + 3) % 7 >= 5  # the epoch was a Thursday
        self.kind = np.array(CLASSES)[slot % len(CLASSES)]

    def draw(self, stream: str) -> Floats:
        """A number in [0, 1) for each VM, shape [VM, 1]."""
        return uniform(self.seed, stream, self.slot)

    def daily(self, stream: str) -> Floats:
        """A number in [0, 1) for each VM and local day."""
        return stepwise(self.seed, f"daily/{stream}", self.slot, self.day)

    def noise(self, stream: str) -> Floats:
        return fractal(self.seed, stream, self.slot, self.seconds)

    def burst(self, stream: str, block: int, chance: float) -> Floats:
        return bursts(self.seed, stream, self.slot, self.seconds, block, chance)

    def hump(self, peak: float | Floats, width: float) -> Floats:
        """A daily bump of height 1 at local hour `peak`, about `width` hours wide (von Mises shape)."""
        sharpness = (12.0 / width) ** 2 / 4.0
        return np.exp(sharpness * (np.cos((self.hour - peak) * np.pi / 12.0) - 1.0))

    def web(self) -> Floats:
        """Share of capacity used by a VM that serves people: day and evening peaks, quiet weekends."""
        shape = 0.25 + self.hump(13.0 + 2 * self.draw("peak"), 7.0) + 0.6 * self.hump(20.5, 3.0)
        week = np.where(self.weekend, 0.55 + 0.3 * self.draw("weekend"), 1.0)
        level = 0.12 + 0.3 * self.draw("level")
        return level * shape * week * np.exp(0.22 * self.noise("web")) + 0.5 * self.burst("flash", 21_600, 0.08)

    def batch(self) -> Floats:
        """Share of capacity used by jobs that start at a set hour, a little late, and run for hours."""
        start = 24.0 * self.draw("job") + 0.7 * self.daily("late")
        length = 2.0 + 5.0 * self.draw("job-length") + 1.5 * self.daily("job-length")
        runs = ((self.hour - start) % 24.0 < length) & (~self.weekend | (self.draw("weekend-job") < 0.5))
        busy = 0.75 + 0.2 * self.draw("level") + 0.06 * self.noise("batch")
        return np.where(runs, busy, 0.03 + 0.01 * self.noise("batch")) + 0.3 * self.burst("adhoc", 43_200, 0.1)

    def backup(self) -> Floats:
        """1 while the nightly backup of a database runs, else 0."""
        start = 1.0 + 3.0 * self.draw("backup")
        return ((self.hour - start) % 24.0 < 0.6 + 0.5 * self.daily("backup-length")).astype(np.float64)

    def database(self) -> Floats:
        """Share of capacity used by a database: office hours on a high floor, backups at night."""
        office = self.hump(14.0, 8.0) * np.where(self.weekend, 0.35, 1.0)
        level = 0.1 + 0.15 * self.draw("level")
        steady = (level + 0.3 * office) * np.exp(0.15 * self.noise("database"))
        return steady + 0.12 * self.backup() + 0.4 * self.burst("query", 14_400, 0.06)

    def idle(self) -> Floats:
        """Share of capacity used by a forgotten VM: next to nothing, now and then a spike."""
        return 0.008 + 0.02 * self.draw("level") + 0.003 * self.noise("idle") + 0.6 * self.burst("spike", DAY, 0.15)

    def load(self) -> Floats:
        classes = {kind: getattr(self, kind)() for kind in dict.fromkeys(CLASSES)}
        load = np.select([self.kind == kind for kind in classes], list(classes.values()))
        return np.clip(load, 0.001, 1.2)

    def off(self) -> np.ndarray:
        """Whether the VM is switched off: some idle and batch VMs at weekends, some of them at night too."""
        economical = np.isin(self.kind, ("idle", "batch")) & (self.draw("economical") < 0.4)
        night = (self.hour < 6) & (self.draw("night-off") < 0.5)
        return economical & (self.weekend | night)

    def columns(self) -> dict[str, Floats]:
        """Return every metric by its canonical name; NaN where a VM has none."""
        load = self.load()
        cores = np.exp2(np.floor(1 + 4 * self.draw("cores")))
        capacity = cores * (2_200 + 200 * np.floor(6 * self.draw("clock")))
        memory = cores * np.exp2(np.floor(1 + 3 * self.draw("memory"))) * 1_048_576
        metrics = {
            "cpu_cores": cores + 0 * load,
            "cpu_capacity": capacity + 0 * load,
            "cpu_usage": 100.0 * load * np.exp(0.04 * self._jitter("cpu")),
            "memory_capacity": memory + 0 * load,
        }
        metrics |= self._memory_and_disk(load, memory) | self._network(load) | self._service(load)
        off = self.off()
        kept_when_off = ("memory_capacity",)
        return {k: v if k in kept_when_off else np.where(off, v * 0.0, v) for k, v in metrics.items()}

    def _jitter(self, stream: str) -> Floats:
        return smooth(self.seed, f"jitter/{stream}", self.slot, self.seconds, 300)

    def _memory_and_disk(self, load: Floats, memory: Floats) -> dict[str, Floats]:
        floor = np.where(self.kind == "database", 0.55, np.where(self.kind == "idle", 0.04, 0.2))
        slow = smooth(self.seed, "working-set", self.slot, self.seconds, 14_400)
        share = np.clip(floor * (1 + 0.08 * slow) + 0.3 * load, 0.01, 0.98)
        scale = np.exp(2.0 + 2.5 * self.draw("disk"))
        write = scale * (0.1 + share * load * 4.0) * np.exp(0.5 * self.noise("disk-write"))
        read = scale * (0.02 + load) * np.exp(0.8 * self.noise("disk-read")) * (self.daily("cached") + 0.2)
        read = read + np.where(self.kind == "database", self.backup(), 0.0) * 40_000 * self.draw("backup-rate")
        return {"memory_usage": share * memory, "disk_read": read, "disk_write": write}

    def _network(self, load: Floats) -> dict[str, Floats]:
        scale = np.exp(3.5 + 2.5 * self.draw("network")) * np.where(self.kind == "idle", 0.05, 1.0)
        received = scale * (0.01 + load**1.2) * np.exp(0.18 * self.noise("received"))
        answer = 1.0 + 5.0 * self.draw("answer-size")
        sent = received * answer * np.exp(0.1 * self._jitter("sent"))
        sent = sent + np.where(self.kind == "database", self.backup(), 0.0) * 15_000 * self.draw("backup-rate")
        return {"network_received": received, "network_sent": sent}

    def _service(self, load: Floats) -> dict[str, Floats]:
        """Latency and errors of the classes that answer requests; waiting grows as in an M/M/1 queue."""
        serves = np.isin(self.kind, ("web", "database"))
        busy = np.minimum(load / 1.1, 0.96)
        latency = (4.0 + 30.0 * self.draw("service-time")) / (1.0 - busy) * np.exp(0.12 * self.noise("latency"))
        requests = load * np.exp(2.0 + 2.0 * self.draw("requests"))
        failing = 0.0008 + 0.06 / (1.0 + np.exp(-25.0 * (busy - 0.82)))
        errors = requests * failing * np.exp(0.4 * self._jitter("errors"))
        return {"latency": np.where(serves, latency, np.nan), "error_rate": np.where(serves, errors, np.nan)}
