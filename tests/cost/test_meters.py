"""Meters, of a powercap tree, a /proc/stat and GPUs that are made up."""

from __future__ import annotations

import os
import sys
import types
from pathlib import Path

import pytest

from fleetml.cost import meters
from fleetml.cost.meters import Meter

TICKS = os.sysconf("SC_CLK_TCK")


class Machine:
    """A machine whose counters a test turns: CPU seconds that were busy, and joules of two packages."""

    def __init__(self, root: Path) -> None:
        self.stat, self.powercap = root / "stat", root / "powercap"
        for name, about in (
            ("intel-rapl:0", "package-0"),
            ("intel-rapl:1", "package-1"),
            ("intel-rapl:0:0", "core"),
            ("intel-rapl:0:1", "dram"),
            ("intel-rapl-mmio:0", "package-0"),
            ("intel-rapl:2", "psys"),
        ):
            (self.powercap / name).mkdir(parents=True)
            (self.powercap / name / "name").write_text(f"{about}\n")
            (self.powercap / name / "max_energy_range_uj").write_text("1000000000\n")  # 1,000 J
            self.counts(name, 0)
        self.was_busy(0)

    def counts(self, zone: str, joules: float) -> None:
        (self.powercap / zone / "energy_uj").write_text(f"{round(joules * 1e6)}\n")

    def was_busy(self, seconds: float) -> None:
        ticks = round(seconds * TICKS)
        cpu = f"cpu  {ticks} 0 0 {5 * ticks} {3 * ticks} 0 0 {2 * ticks} 0 0\n"  # idle, waiting and stolen time is not busy
        self.stat.write_text(f"{cpu}cpu0 {ticks} 0 0 9 0 0 0 0 0 0\ncpu1 0 0 0 9 0 0 0 0 0 0\nintr 5\n")

    def meter(self) -> Meter:
        return Meter(powercap=self.powercap, stat=self.stat, gpus=lambda: None)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_a_command_has_its_share_of_both_packages_by_cpu_time(machine: Machine) -> None:
    machine.counts("intel-rapl:0", 900)
    meter = machine.meter()
    machine.counts("intel-rapl:0", 960)
    machine.counts("intel-rapl:1", 20)
    machine.counts("intel-rapl-mmio:0", 60)  # the same package once more
    machine.counts("intel-rapl:2", 500)  # the whole machine
    machine.was_busy(40)
    assert meter.drawn(10.0) == {"machine_cpu_seconds": 40.0, "vcpus": 2, "joules": pytest.approx(20.0)}


def test_a_counter_that_wraps_around_is_followed(machine: Machine) -> None:
    machine.counts("intel-rapl:0", 990)
    meter = machine.meter()
    for joules in (5, 600, 995, 15):  # 15 + 595 + 395 + 20
        machine.counts("intel-rapl:0", joules)
        meter.look()
    machine.was_busy(10)
    assert meter.drawn(10.0)["joules"] == pytest.approx(1025)


def test_a_counter_that_falls_without_a_range_is_not_guessed(machine: Machine) -> None:
    (machine.powercap / "intel-rapl:0" / "max_energy_range_uj").unlink()
    machine.counts("intel-rapl:0", 990)
    meter = machine.meter()
    machine.counts("intel-rapl:0", 5)
    machine.was_busy(10)
    assert meter.drawn(10.0)["joules"] is None


@pytest.mark.parametrize("damage", ["unreadable", "no number"])
def test_one_package_that_cannot_be_read_makes_all_unknown(machine: Machine, damage: str) -> None:
    counter = machine.powercap / "intel-rapl:1" / "energy_uj"
    counter.unlink()
    if damage == "no number":
        counter.write_text("")
    meter = machine.meter()
    machine.was_busy(10)
    assert meter.drawn(10.0)["joules"] is None


def test_a_machine_without_counters_tells_its_busy_time_only(machine: Machine, tmp_path: Path) -> None:
    meter = Meter(powercap=tmp_path / "none", stat=machine.stat, gpus=lambda: None)
    machine.was_busy(8)
    assert meter.drawn(2.0) == {"machine_cpu_seconds": 8.0, "vcpus": 2, "joules": None}
    elsewhere = Meter(powercap=tmp_path / "none", stat=tmp_path / "none", gpus=lambda: None)
    assert elsewhere.drawn(2.0) == {"machine_cpu_seconds": None, "vcpus": 0, "joules": None}


def test_a_command_has_no_more_than_all(machine: Machine) -> None:
    meter = machine.meter()
    machine.counts("intel-rapl:0", 50)
    machine.was_busy(0.5)  # the kernel rounds to hundredths
    assert meter.drawn(1.0)["joules"] == pytest.approx(50)


class Gpus:
    """Two GPUs, as a test says."""

    def __init__(self) -> None:
        self.counted = [100.0, 0.0]
        self.used: list[dict[int, float]] = [{}, {}]

    def joules(self) -> list[float]:
        return list(self.counted)

    def use(self) -> list[dict[int, float]]:
        return self.used


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [50.0]
    monkeypatch.setattr(meters, "time", types.SimpleNamespace(monotonic=lambda: now[0]))
    return now


def test_a_gpu_is_shared_by_the_processes_that_keep_it_busy(machine: Machine, clock: list[float]) -> None:
    me, other, gpus = os.getpid(), os.getppid(), Gpus()
    meter = Meter(lambda: [me], machine.powercap, machine.stat, lambda: gpus)
    clock[0] += 2
    gpus.counted, gpus.used = [400.0, 70.0], [{me: 0.6, other: 0.2}, {other: 1.0}]
    meter.look()
    gpus.counted, gpus.used = [440.0, 70.0], [{me: 0.0, other: 0.0}, {}]  # idle, both have it open
    found = meter.drawn(1.0)
    assert (found["gpu_seconds"], found["gpu_joules"]) == (pytest.approx(1.2), pytest.approx(300 * 0.75 + 20))


def test_processes_that_a_container_cannot_see_are_taken_for_the_commands(machine: Machine, clock: list[float]) -> None:
    gpus = Gpus()
    meter = Meter(lambda: [os.getpid()], machine.powercap, machine.stat, lambda: gpus)
    clock[0] += 1
    gpus.counted, gpus.used = [150.0, 0.0], [{2**30: 0.5}, {}]
    found = meter.drawn(1.0)
    assert (found["gpu_seconds"], found["gpu_joules"]) == (0.5, 50)


def test_nvml_is_asked_for_energy_and_use(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A module that plays nvidia-ml-py."""

    class NVMLError(Exception):
        pass

    samples = [
        types.SimpleNamespace(pid=7, timeStamp=5, smUtil=40),
        types.SimpleNamespace(pid=7, timeStamp=9, smUtil=60),
    ]

    def utilization(handle: str, seen: int) -> list[types.SimpleNamespace]:
        if seen >= 9:
            raise NVMLError("Not Found")
        return samples

    played = types.SimpleNamespace(
        NVMLError=NVMLError,
        nvmlInit=lambda: None,
        nvmlDeviceGetCount=lambda: 1,
        nvmlDeviceGetHandleByIndex=lambda number: f"gpu {number}",
        nvmlDeviceGetTotalEnergyConsumption=lambda handle: 12345,
        nvmlDeviceGetComputeRunningProcesses=lambda handle: [
            types.SimpleNamespace(pid=7),
            types.SimpleNamespace(pid=8),
        ],
        nvmlDeviceGetProcessUtilization=utilization,
    )
    monkeypatch.setitem(sys.modules, "pynvml", played)
    device = tmp_path / "nvidiactl"
    monkeypatch.setattr(meters, "_NVIDIA", device)
    assert meters.nvidia() is None
    device.touch()
    gpus = meters.nvidia()
    assert gpus is not None
    assert (gpus.joules(), gpus.use(), gpus.use()) == ([12.345], [{7: 0.5, 8: 0.0}], [{7: 0.0, 8: 0.0}])
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert meters.nvidia() is None
