"""A graph that is larger than the memory there is: refused before it is read, by the machine's figure or its cgroups'."""

from collections.abc import Callable
from pathlib import Path

import pytest

from fleetml.learn import footprint
from fleetml.learn.graph import InvalidGraph
from fleetml.serving import deployment, memory
from fleetml.serving.deployment import Card, Deployed
from fleetml.stack.processes import wait_until
from fleetml_client import Client
from tests.learn.test_footprint import forest

MIB = 2**20


def test_the_last_good_version_serves_on(tmp_path: Path, graph: Callable[..., Path], serve: Callable[..., str]) -> None:
    good, root = graph(), tmp_path / "serving"
    deployment.install(root, Card("bandwidth", "1", deployment.digest(good)), {deployment.GRAPH: good})
    deployment.point(root, "bandwidth", "1")
    with Client(serve(root), 60) as client:
        huge = root / "models/bandwidth/2/model.onnx"
        huge.parent.mkdir()
        with huge.open("wb") as file:
            file.truncate(2**40)  # holes: it takes no place on the disk
        deployment.restore(root, "bandwidth", "1", Deployed("2", "models/bandwidth/2/model.onnx", "0" * 64))
        assert wait_until(lambda: bool(deployment.status(root).get("refused")), 60, 0.02)
        assert "3,145,728 MiB while it is loaded" in deployment.status(root)["refused"]["bandwidth"]["error"]
        assert client.predict_bandwidth("vm-1", [1.0] * 12, 5).model_version == "1"


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """A machine with 100 MiB free and no cgroups."""
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/meminfo").write_text(f"MemTotal: 9 kB\nMemAvailable: {100 * 1024} kB\n")
    (tmp_path / "proc/self/cgroup").write_text("0::/pods/ours\n")
    (tmp_path / "cgroups/pods/ours").mkdir(parents=True)
    return tmp_path


def free(machine: Path) -> int | None:
    found = memory.available(machine / "proc", machine / "cgroups")
    return None if found is None else found // MIB


def limit(group: Path, names: tuple[str, str, str], most: object, used: int, cache: int) -> None:
    group.mkdir(parents=True, exist_ok=True)
    (group / names[0]).write_text(f"{most}\n")
    (group / names[1]).write_text(f"{used}\n")
    (group / "memory.stat").write_text(f"anon 7\n{names[2]} {cache}\n")


def test_the_tightest_limit_counts(machine: Path) -> None:
    names = ("memory.max", "memory.current", "inactive_file")
    assert free(machine) == 100
    limit(machine / "cgroups/pods/ours", names, "max", 5 * MIB, 0)
    assert free(machine) == 100
    limit(machine / "cgroups/pods", names, 60 * MIB, 30 * MIB, 10 * MIB)  # that of a group above
    assert free(machine) == 40
    limit(machine / "cgroups/pods/ours", names, 20 * MIB, 30 * MIB, 0)
    assert free(machine) == 0


def test_the_first_version_of_cgroups_counts(machine: Path) -> None:
    names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
    limit(machine / "cgroups/memory", names, 50 * MIB, 20 * MIB, 0)
    assert free(machine) == 30
    (machine / "proc/self/cgroup").write_text("4:memory:/ours\n0::/\n")
    limit(machine / "cgroups/memory/ours", names, 50 * MIB, 40 * MIB, 0)
    assert free(machine) == 10


def test_where_nobody_knows_nothing_is_refused(tmp_path: Path, graph: Callable[..., Path]) -> None:
    memory.check(graph(), tmp_path / "no", tmp_path / "no")


def test_what_is_larger_is_refused_with_the_remedy(machine: Path) -> None:
    large = machine / "large.onnx"
    with large.open("wb") as file:
        file.truncate(40 * MIB)
    with pytest.raises(
        InvalidGraph, match=r"120 MiB while it is loaded .* 100 MiB of memory are free; deploy a smaller"
    ):
        memory.check(large, machine / "proc", machine / "cgroups")
    with large.open("wb") as file:
        file.truncate(30 * MIB)
    memory.check(large, machine / "proc", machine / "cgroups")


def test_a_forest_that_takes_more_than_its_size_tells_is_refused_too(machine: Path) -> None:
    grown = machine / "forest.onnx"
    grown.write_bytes(forest(400, depth=10))
    size = grown.stat().st_size
    assert 3 * size < 100 * MIB < footprint.estimate(grown.read_bytes()) * 1e6
    with pytest.raises(InvalidGraph, match=r"forest.onnx takes about .* \(by its trees, .* 100 MiB of memory are free"):
        memory.check(grown, machine / "proc", machine / "cgroups")
    grown.write_bytes(forest(20, depth=10))
    memory.check(grown, machine / "proc", machine / "cgroups")
