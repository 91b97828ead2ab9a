"""Is there room for a graph? Asked before it is read: a process that the kernel kills serves nobody."""

from collections.abc import Iterator
from pathlib import Path

from google.protobuf.message import DecodeError

from fleetml.learn import footprint
from fleetml.learn.footprint import COPIES
from fleetml.learn.graph import InvalidGraph


def check(graph: Path, proc: Path = Path("/proc"), cgroups: Path = Path("/sys/fs/cgroup")) -> None:
    """Raises InvalidGraph for a graph that takes more than the memory there is, OSError for one that is not there.

    First by its size alone, as reading what is too large is what is to be avoided; then by what is in it: trees take thrice that.
    """
    free = available(proc, cgroups)
    if free is None:
        return
    _refuse(graph, graph.stat().st_size * COPIES, free, f"{COPIES} times its size")
    try:
        counted = footprint.estimate(graph.read_bytes())
    except (DecodeError, ValueError, RuntimeError):  # no graph that could be counted: loading it says what is wrong
        return
    _refuse(graph, int(counted * 1e6), free, "by its trees, nodes and what is in between")


def _refuse(graph: Path, needed: int, free: int, how: str) -> None:
    if needed > free:
        raise InvalidGraph(
            f"{graph} takes about {_told(needed)} while it is loaded ({how}), and {_told(free)} of memory are free; "
            "deploy a smaller one, or give the server more memory"
        )


def available(proc: Path, cgroups: Path) -> int | None:
    """Return the bytes that this process may still take, of the machine's and of its cgroups'; None: nobody knows."""
    found = list(_machine(proc))
    for group in _groups(proc, "", cgroups):
        found += _left(group, "memory.max", "memory.current", "inactive_file")
    for group in _groups(proc, "memory", cgroups / "memory"):
        found += _left(group, "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
    return min(found, default=None)


def _machine(proc: Path) -> Iterator[int]:
    said = _read(proc / "meminfo")
    yield from (int(line.split()[1]) * 1024 for line in said.splitlines() if line.startswith("MemAvailable:"))


def _groups(proc: Path, controller: str, root: Path) -> Iterator[Path]:
    """Yield this process's group of a hierarchy ("": the one of version 2) and all above it, whose limits count, too."""
    lines = (line.split(":", 2) for line in _read(proc / "self/cgroup").splitlines())
    own = next((words[2] for words in lines if words[1:2] == [controller]), "/")
    place = root / own.strip("/")
    yield from (group for group in (place, *place.parents) if group.is_relative_to(root))


def _left(group: Path, limit: str, used: str, cache: str) -> Iterator[int]:
    """What the page cache of files holds is given up first."""
    most, now = _read(group / limit).strip(), _read(group / used).strip()
    if most.isdigit() and now.isdigit():
        lines = (line.split() for line in _read(group / "memory.stat").splitlines())
        yield max(0, int(most) - int(now) + sum(int(words[1]) for words in lines if words[0] == cache))


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def _told(size: int) -> str:
    return f"{size / 2**20:,.0f} MiB"
