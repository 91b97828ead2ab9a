"""What a container on this machine uses, as its control group tells it (Linux)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

_ROOT = Path("/sys/fs/cgroup")


def of(pid: int, root: Path = _ROOT, proc: Path = Path("/proc")) -> Callable[[], tuple[float, int]] | None:
    """Return a function that tells CPU seconds and bytes of memory of the control group of a process of a container.

    Memory is without the page cache that the kernel may take back at once. The function raises OSError once the group is
    gone. None where the group cannot be seen: the process is of another machine, or the container shares our own group.
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
        memory = int((group / "memory.current").read_text()) - _entry(group / "memory.stat", "inactive_file")
        return _entry(group / "cpu.stat", "usage_usec") / 1e6, memory

    return use


def _classic(root: Path, paths: dict[str, str]) -> Callable[[], tuple[float, int]]:
    def use() -> tuple[float, int]:
        group = root / "memory" / paths["memory"]
        cpu = root / "cpuacct" / paths["cpuacct"] / "cpuacct.usage"
        cache = _entry(group / "memory.stat", "total_inactive_file")
        return int(cpu.read_text()) / 1e9, int((group / "memory.usage_in_bytes").read_text()) - cache

    return use


def _entry(file: Path, name: str) -> int:
    return int(dict(line.split() for line in file.read_text().splitlines())[name])
