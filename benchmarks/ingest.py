"""A month of VM metrics into the canonical table: the generator's fleet, and the real file where it is there."""

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from components.ingest.ingest import ingest
from fleetml.component import Artifact

REAL = Path(__file__).parents[1] / ".." / "shared/data/bitbrains_rnd/vm001-150_2013-08_all_metrics.parquet"


def run() -> Iterator[tuple[str, float, str]]:
    """Yield wall time and rows a second."""
    sources = {
        "synthetic fleet, 40 VMs": "",
        "Bitbrains rnd, August 2013": str(REAL.resolve()) if REAL.exists() else None,
    }
    for name, source in sources.items():
        if source is None:
            continue
        with tempfile.TemporaryDirectory() as folder:
            data, metrics = (Artifact(part, f"{folder}/{part}") for part in ("data", "metrics"))
            began = time.perf_counter()
            ingest(source, "", 31, "", data, metrics)
            taken = time.perf_counter() - began
        yield f"{name}, {metrics.metadata['rows']:,} rows", taken, "s"
