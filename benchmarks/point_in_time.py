"""Features as they were known at a moment: our offline store beside Feast's own, each case in a process of its own.

    python -m benchmarks point_in_time

5,000 series over thirty days, twelve features; as many moments asked about as there are rows. Feast's own stores, dask (its
default) and DuckDB, are left out where they need more memory than most machines have: both join every moment with all rows
of its series first (a million rows with a long TTL: 19 GB).
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

OURS, FEAST, DEFAULT = "fleetml.featurestore.offline.AsofOfflineStore", "duckdb", "dask"
SERIES, FEATURES, DAYS = 5_000, 12, 30
YEARS = 24 * 3650
CASES = [
    (100_000, YEARS, DEFAULT),
    (100_000, YEARS, FEAST),
    (100_000, YEARS, OURS),
    (1_000_000, 2, FEAST),
    (1_000_000, 2, OURS),
]
LARGE = [(1_000_000, YEARS, OURS), (10_000_000, YEARS, OURS)]


def run() -> Iterator[tuple[str, float, str]]:
    """Yield seconds and peak memory of each case; the first of both stores must give the same sums."""
    sums: dict[tuple[int, int], float] = {}
    for rows, hours, offline in [*CASES, *LARGE]:
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-m", "benchmarks.point_in_time", folder, str(rows), str(hours), offline]
            for part in ("data", "join"):
                done = subprocess.run([*command, part], check=True, capture_output=True, text=True)
        found = json.loads(done.stdout)
        if abs(sums.setdefault((rows, hours), found["sum"]) - found["sum"]) > 1e-6 * found["sum"]:
            raise AssertionError(f"the stores differ at {rows} rows: {sums} and {found['sum']}")
        name = "ours" if offline == OURS else f"Feast's {offline}"
        case = f"{name}, {rows:,} rows x {rows:,} moments, TTL {'10 years' if hours == YEARS else f'{hours} h'}"
        yield case, found["seconds"], "s"
        yield f"{case}: peak memory", found["gigabytes"], "GB"


def data(folder: Path, rows: int) -> None:
    """Write `rows` feature rows and as many moments."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    rng = np.random.default_rng(rows)
    names = pa.array([f"vm-{number:05d}" for number in range(SERIES)])

    def keys() -> dict[str, pa.Array]:
        which = pa.array(rng.integers(0, SERIES, rows, dtype=np.int32))
        since = rng.integers(0, DAYS * 86_400_000_000, rows).astype("timedelta64[us]")  # two at once would be a draw
        times = np.datetime64("2026-01-01", "us") + since
        return {"vm_id": names.take(which), "event_timestamp": pa.array(times, pa.timestamp("us", "UTC"))}

    pq.write_table(pa.table(keys() | {f"f{n}": rng.random(rows) for n in range(FEATURES)}), folder / "features.parquet")
    pq.write_table(pa.table(keys()), folder / "moments.parquet")


def join(folder: Path, hours: int, offline: str) -> dict[str, float]:
    """Return wall time of the join, read and answered as Arrow, the sum of what was found, and the peak memory."""
    import pandas as pd
    import pyarrow.compute as pc
    from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType
    from feast.data_format import ParquetFormat
    from feast.types import Float64

    store = FeatureStore(
        config=RepoConfig(
            project="benchmark",
            provider="local",
            registry=str(folder / "registry.db"),
            offline_store={"type": offline},
            online_store={"type": "sqlite", "path": str(folder / "online.db")},
            entity_key_serialization_version=3,
        )
    )
    vm = Entity(name="vm", join_keys=["vm_id"], value_type=ValueType.STRING)
    names = [f"f{number}" for number in range(FEATURES)]
    source = FileSource(
        name="rows",
        path=str(folder / "features.parquet"),
        file_format=ParquetFormat(),
        timestamp_field="event_timestamp",
    )
    fields = [Field(name=name, dtype=Float64) for name in names]
    view = FeatureView(name="rows", entities=[vm], ttl=timedelta(hours=hours), schema=fields, source=source)
    store.apply([vm, view])
    moments = pd.read_parquet(folder / "moments.parquet")
    began = time.perf_counter()
    found = store.get_historical_features(moments, features=[f"rows:{name}" for name in names]).to_arrow()
    seconds = time.perf_counter() - began
    total = sum(pc.sum(found[name]).as_py() or 0.0 for name in names)
    return {"seconds": seconds, "sum": total, "gigabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20}


if __name__ == "__main__":
    place, count, ttl, kind, part = sys.argv[1:]
    if part == "data":
        data(Path(place), int(count))
    else:
        print(json.dumps(join(Path(place), int(ttl), kind)))
