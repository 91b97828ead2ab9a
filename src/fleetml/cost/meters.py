"""What a command drew of this machine while it ran, by the counters of its processors (RAPL) and GPUs (NVML).

The counters are the machine's. A command's part of a processor's energy is its part of the CPU time that was busy meanwhile, so idle
power is shared by those who kept the machine awake; its part of a GPU's is that of its processes in the GPU's use.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Protocol

POWERCAP = Path("/sys/class/powercap")
_STAT = Path("/proc/stat")
_PROCESSES = Path("/proc")
_NVIDIA = Path("/dev/nvidiactl")
_PACKAGE = re.compile(r"intel-rapl:\d+\Z")  # AMD's too; intel-rapl-mmio counts the same a second time


class Meter:
    """Begun when a command is about to start; `look` at it at least once a minute, for counters wrap around.

    `family` returns the ids of the command's processes, `powercap` and `stat` are where the kernel tells.
    """

    def __init__(
        self,
        family: Callable[[], Iterable[int]] = lambda: (),
        powercap: Path = POWERCAP,
        stat: Path = _STAT,
        gpus: Callable[[], Gpus | None] | None = None,
    ) -> None:
        self._family, self._stat = family, stat
        self._packages = list(_packages(powercap))
        self._busy, self.vcpus = _busy(stat)
        found = gpus() if gpus else nvidia()
        self._gpus = _GpuShare(found) if found else None

    def look(self) -> None:
        """Take in what the counters say."""
        for package in self._packages:
            package.look()
        if self._gpus:
            self._gpus.look(set(self._family()))

    def drawn(self, cpu_seconds: float) -> dict[str, Any]:
        """Return what `fleetml.runners.Usage` wants to know of a command that used this much CPU time and is over."""
        self.look()
        busy = _busy(self._stat)[0]
        busy_seconds = None if busy is None or self._busy is None else max(busy - self._busy, cpu_seconds)
        found = {
            "machine_cpu_seconds": busy_seconds,
            "vcpus": self.vcpus,
            "joules": self._joules(cpu_seconds, busy_seconds),
        }
        if self._gpus:
            found |= {"gpu_seconds": self._gpus.seconds, "gpu_joules": self._gpus.joules}
        return found

    def _joules(self, cpu_seconds: float, busy_seconds: float | None) -> float | None:
        """Return the command's part of what all packages used; None where one of them cannot be read."""
        parts = [package.joules for package in self._packages]
        if not parts or not busy_seconds or None in parts:
            return None
        return sum(part for part in parts if part is not None) * cpu_seconds / busy_seconds


class _Package:
    """The energy counter of one processor: microjoules, from 0 again where its range ends."""

    def __init__(self, folder: Path) -> None:
        self._counter = folder / "energy_uj"
        self._range = _number(folder / "max_energy_range_uj")
        self._last = _number(self._counter)
        self.joules: float | None = 0.0 if self._last is not None else None

    def look(self) -> None:
        now = _number(self._counter)
        if now is None or self._last is None or self.joules is None:
            self.joules = None  # only root may read it here, or it went away
            return
        step = now - self._last
        if step < 0:
            if not self._range:
                self.joules = None
                return
            step += self._range
        self.joules += step / 1e6
        self._last = now


def _packages(powercap: Path) -> Iterator[_Package]:
    try:
        names = sorted(entry for entry in os.listdir(powercap) if _PACKAGE.match(entry))  # noqa: PTH208 - of every step
    except OSError:
        return
    for name in names:
        try:
            about = (powercap / name / "name").read_text()
        except OSError:
            continue
        if about.startswith("package"):
            yield _Package(powercap / name)


def _number(place: Path) -> int | None:
    try:
        return int(place.read_text())
    except (OSError, ValueError):
        return None


def _busy(stat: Path) -> tuple[float | None, int]:
    """Return the CPU seconds since the machine started that were neither idle nor another machine's, and the vCPUs."""
    try:
        lines = stat.read_text().splitlines()
        user, nice, system, _, _, irq, softirq = (int(text) for text in lines[0].split()[1:8])
    except (OSError, ValueError, IndexError):
        return None, 0
    vcpus = sum(1 for line in lines if re.match(r"cpu\d", line))
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK"), vcpus


class Gpus(Protocol):
    """The GPUs of this machine; `_Nvml` are NVIDIA's."""

    def joules(self) -> list[float]:
        """Return what each has used since some time [J]."""
        ...

    def use(self) -> list[dict[int, float]]:
        """Return, of each, the processes that have it open and the part of the last second that they kept it busy."""
        ...


class _GpuShare:
    """The part that a command's processes have of all GPUs."""

    def __init__(self, gpus: Gpus) -> None:
        self._gpus = gpus
        self._last, self._looked = gpus.joules(), time.monotonic()
        self.seconds = self.joules = 0.0

    def look(self, family: set[int]) -> None:
        now, energy, use = time.monotonic(), self._gpus.joules(), self._gpus.use()
        for before, after, processes in zip(self._last, energy, use, strict=True):
            ours, part = _part(processes, family)
            self.seconds += ours * (now - self._looked)
            self.joules += part * max(0.0, after - before)
        self._last, self._looked = energy, now


def _part(processes: dict[int, float], family: set[int]) -> tuple[float, float]:
    """Return how busy a family kept a GPU [0 to 1], and its part of the GPU's energy: by use, of an idle one by processes.

    A container may not know the processes by the ids that NVML tells; then all that use it are taken for the family's.
    """
    known = {pid for pid in processes if (_PROCESSES / str(pid)).exists()}
    ours = processes if processes and not known else {pid: use for pid, use in processes.items() if pid in family}
    busy, all_busy = sum(ours.values()), sum(processes.values())
    part = busy / all_busy if all_busy else len(ours) / max(1, len(processes))
    return min(1.0, busy), part


class _Nvml:
    """NVIDIA's GPUs, by nvidia-ml-py."""

    def __init__(self, nvml: Any) -> None:
        self._nvml = nvml
        nvml.nvmlInit()
        self._handles = [nvml.nvmlDeviceGetHandleByIndex(number) for number in range(nvml.nvmlDeviceGetCount())]
        self._seen = [0] * len(self._handles)  # µs: of the last sample of use

    def joules(self) -> list[float]:
        return [self._nvml.nvmlDeviceGetTotalEnergyConsumption(handle) / 1e3 for handle in self._handles]

    def use(self) -> list[dict[int, float]]:
        return [self._use(number, handle) for number, handle in enumerate(self._handles)]

    def _use(self, number: int, handle: Any) -> dict[int, float]:
        found = {process.pid: 0.0 for process in self._nvml.nvmlDeviceGetComputeRunningProcesses(handle)}
        try:
            samples = self._nvml.nvmlDeviceGetProcessUtilization(handle, self._seen[number])
        except self._nvml.NVMLError:  # no sample since the last look, or a GPU that tells none
            return found
        by_process: dict[int, list[float]] = {}
        for sample in samples:
            self._seen[number] = max(self._seen[number], sample.timeStamp)
            by_process.setdefault(sample.pid, []).append(sample.smUtil / 100)
        return found | {pid: sum(values) / len(values) for pid, values in by_process.items() if pid}


def nvidia() -> Gpus | None:
    """Return NVIDIA's GPUs, None where there are none or nvidia-ml-py is not installed."""
    if not _NVIDIA.exists():
        return None
    try:
        import pynvml

        gpus = _Nvml(pynvml)
        gpus.joules()
    except Exception as error:  # no library, no driver, a GPU that counts no energy: nothing is measured
        import logging

        logging.getLogger("fleetml").info("GPUs are not measured: %s %s", type(error).__name__, error)
        return None
    return gpus


def family(pid: int) -> list[int]:
    """Return the ids of a process and its descendants."""
    import psutil

    try:
        process = psutil.Process(pid)
        return [pid, *(member.pid for member in process.children(recursive=True))]
    except psutil.Error:
        return []
