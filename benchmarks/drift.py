"""The drift check of 50 features and 1,000,000 rows: ours, and plain Evidently on the same rows, statistic and threshold."""

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl

from components.drift.drift import drift
from fleetml.component import Artifact

FEATURES, LIVE, TRAINED, VMS = 50, 1_000_000, 20_000, 2_000


def run() -> Iterator[tuple[str, float, str]]:
    """Yield seconds by the wall and of CPU (the wall's are of a busy machine, where it is one), features found, false alarms."""
    with tempfile.TemporaryDirectory() as folder:
        names = [f"feature_{number:02d}" for number in range(FEATURES)]
        random = np.random.default_rng(0)
        trained, live = _table(random, TRAINED, names), _table(random, LIVE, names)
        live[names[:5]] *= 2
        shape = f"{FEATURES} features x {LIVE:,} rows"
        made = {
            name: Artifact(name, str(Path(folder) / name))
            for name in ("live", "trained", "judged", "report", "metrics")
        }
        live.to_parquet(made["live"].path)
        trained.to_parquet(made["trained"].path)
        pl.DataFrame(
            schema={"hour": pl.Datetime("us", "UTC"), "error": pl.Float64, "actual": pl.Float64}
        ).write_parquet(made["judged"].path)
        began, busy = time.perf_counter(), time.process_time()
        found = drift(*made.values(), threshold=0.3, column_threshold=0.1, min_rows=100)
        yield f"FleetML, report included, {shape}", time.perf_counter() - began, "s"
        yield "FleetML: CPU", time.process_time() - busy, "s"
        yield from _right("FleetML", found["features"], names)
        began, busy = time.perf_counter(), time.process_time()
        columns = _evidently(live[names], trained[names], Path(folder) / "evidently.html")
        yield f"Evidently, KL, report included, {shape}", time.perf_counter() - began, "s"
        yield "Evidently, KL: CPU", time.process_time() - busy, "s"
        yield from _right("Evidently, KL", columns, names)


def _table(random: np.random.Generator, rows: int, names: list[str]) -> pd.DataFrame:
    """Log-normal values about a level of each VM; levels differ by orders of magnitude."""
    vm = np.arange(rows) % VMS
    level = np.random.default_rng(1).lognormal(3, 2, (VMS, 1))
    table = pd.DataFrame(level[vm] * random.lognormal(0, 0.4, (rows, len(names))), columns=names)
    days = pd.to_timedelta(np.arange(rows) * 14 // rows, "D")
    return table.assign(vm_id=np.char.add("vm-", vm.astype(str)), origin=pd.Timestamp("2026-01-01", tz="UTC") + days)


def _right(who: str, columns: dict[str, float], names: list[str]) -> Iterator[tuple[str, float, str]]:
    moved = set(names[:5])
    yield f"{who}: drifted features that were found", len(moved & set(columns)), "of 5"
    yield f"{who}: others that were called drifted", len(set(columns) - moved), "of 45"


def _evidently(live: pd.DataFrame, trained: pd.DataFrame, page: Path) -> dict[str, float]:
    from evidently import DataDefinition, Dataset, Report
    from evidently.presets import DataDriftPreset

    definition = DataDefinition(numerical_columns=list(live.columns))
    result = Report([DataDriftPreset(num_method="kl_div", num_threshold=0.1)]).run(
        Dataset.from_pandas(live, definition), Dataset.from_pandas(trained, definition)
    )
    result.save_html(str(page))
    values = {
        metric["config"]["column"]: float(metric["value"])
        for metric in result.dict()["metrics"]
        if "column" in metric["config"]
    }
    return {column: value for column, value in values.items() if value >= 0.1}
