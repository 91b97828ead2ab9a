"""What a container on this machine uses, as its control group tells it (Linux)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

_ROOT = Path("/sys/fs/cgroup")


def of(pid: int, root: Path = _ROOT, proc: Path = Path("/proc")) -> Callable[[], tuple[float, int]] | None:
    """Return a function that tells CPU seconds and peak bytes of the control group of a process of a container.

    It raises OSError once the group is gone. None where the group cannot be seen: the process is of another machine,
    or the container shares our own group.
    """
    try:
        paths = _paths(proc / str(pid) / "cgroup")
        ours = _paths(proc / "self" / "cgroup")
    except OSError:
        return None
    if paths == ours:
        return None
    for kind in (_unified, _classic):
        use = kind(root, paths)
        try:
            use()
        except (OSError, KeyError, ValueError):
            continue
        return use
    return None


def _paths(file: Path) -> dict[str, str]:
    """The group's path below each controller; "" is that of cgroup v2."""
    lines = (line.split(":", 2) for line in file.read_text().splitlines())
    return {name: path.lstrip("/") for _, names, path in lines for name in names.split(",")}


def _unified(root: Path, paths: dict[str, str]) -> Callable[[], tuple[float, int]]:
    group = root / paths.get("", "")

    def use() -> tuple[float, int]:
        stat = dict(line.split() for line in (group / "cpu.stat").read_text().splitlines())
        peak = group / "memory.peak"  # Linux 5.19
        memory = peak if peak.exists() else group / "memory.current"
        return int(stat["usage_usec"]) / 1e6, int(memory.read_text())

    return use


def _classic(root: Path, paths: dict[str, str]) -> Callable[[], tuple[float, int]]:
    def use() -> tuple[float, int]:
        cpu = root / "cpuacct" / paths["cpuacct"] / "cpuacct.usage"
        memory = root / "memory" / paths["memory"] / "memory.max_usage_in_bytes"
        return int(cpu.read_text()) / 1e9, int(memory.read_text())

    return use
