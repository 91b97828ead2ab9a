"""Online features of 1 and of 100 VMs: `online_features`, which also holds values to their TTL, beside Feast's own call.

    python -m benchmarks online_features

The same materialised store for both, in SQLite and in a Redis of our own (Debian's redis-server); six features of 200 VMs,
asked in turn, round after round; milliseconds are the median of all rounds.
"""

import contextlib
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl

VMS, ROUNDS, CALLS = 200, 5, 40
Figures = Iterator[tuple[str, float, str]]


def run() -> Figures:
    """Yield p50 and p99 of both for each store and number of VMs."""
    with tempfile.TemporaryDirectory() as name:
        for store, config in _stores(Path(name)):
            (folder := Path(name) / store).mkdir()
            if config:
                (folder / "feature_store.yaml").write_text(json.dumps({"online_store": config}))
            end = _materialised(folder)
            for vms in (1, 100):
                yield from _asked(store, folder, vms, end)


def _stores(folder: Path) -> Iterator[tuple[str, dict[str, str]]]:
    yield "SQLite", {}
    if not shutil.which("redis-server"):
        print("no Redis: Debian's package redis-server is not installed", file=sys.stderr)
        return
    with _redis(folder) as port:
        yield "Redis", {"type": "redis", "connection_string": f"localhost:{port}"}


@contextlib.contextmanager
def _redis(folder: Path) -> Iterator[int]:
    from fleetml.stack import ports
    from fleetml.stack.processes import wait_until

    port = ports.free()
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as server:
        try:
            if not wait_until(lambda: _answers(port), 60):
                raise TimeoutError("redis-server does not answer")
            yield port
        finally:
            server.terminate()


def _answers(port: int) -> bool:
    import socket

    with socket.socket() as probe:
        return not probe.connect_ex(("127.0.0.1", port))


def _materialised(folder: Path) -> datetime:
    """Bring the online store up; return the moment of its values."""
    from components.features.materialise import materialise
    from components.features.table import feature_table, write
    from fleetml.component import Artifact
    from fleetml.data import synthetic

    begin = datetime(2024, 3, 1, tzinfo=UTC)
    fleet = synthetic.generate(synthetic.parse(f"synthetic://?vms={VMS}&seed=5"), begin, 0.05)
    table = feature_table(fleet.lazy())
    features = Artifact("features", str(folder / "features.parquet"))
    write(table, features.path)
    materialise(features, Artifact("metrics", str(folder / "metrics")), str(folder))
    end = table.select(pl.col("event_timestamp").max()).item()
    assert isinstance(end, datetime)
    return end


def _asked(store: str, folder: Path, vms: int, end: datetime) -> Figures:
    from feature_repo.definitions import REFERENCES
    from feature_repo.store import online_features, opened

    feast = opened(folder)
    known = sorted(_vms(folder))[:vms]
    rows = [{"vm_id": vm} for vm in known]
    calls: dict[str, Callable[[], object]] = {
        "ours": lambda: online_features(folder, known, REFERENCES, end),
        "Feast": lambda: feast.get_online_features(features=list(REFERENCES), entity_rows=rows).to_dict(),
    }
    mine = online_features(folder, known, REFERENCES, end)
    if len(mine) != vms or not all(mine.values()):
        raise AssertionError(f"{store} lacks features of {vms} VMs: {mine}")
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(ROUNDS):
        for name, call in calls.items():
            taken[name] += [_seconds(call) for _ in range(CALLS)]
    for name, times in taken.items():
        place = f"{store}, {vms} VM{'s' * (vms > 1)}, {name}"
        yield f"{place}, p50", statistics.median(times) * 1e3, "ms"
        yield f"{place}, p99", float(np.quantile(times, 0.99)) * 1e3, "ms"


def _vms(folder: Path) -> list[str]:
    """Return the VMs of the materialised table."""
    return pl.read_parquet(folder / "features.parquet", columns=["vm_id"])["vm_id"].unique().to_list()


def _seconds(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began
