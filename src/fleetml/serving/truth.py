"""What became true after a forecast, and how wrong the forecast was: the one reader of both (ADR 10).

    truth/model=<name>/date=YYYY-MM-DD/truth.parquet     vm_id, timestamp (UTC, on the model's grid), value (its unit)

A value is what the VM did in the step that its timestamp begins, as in the feature table (ADR 2). A day is one file; what
comes late is merged into it, what comes again replaces what was there.
"""

from datetime import datetime, timedelta
from pathlib import Path

import polars as pl

from fleetml import lockfile
from fleetml.atomic import aside
from fleetml.errors import InvalidData
from fleetml.serving.deployment import PREDICTIONS

TRUTH = "truth"
SCHEMA = pl.Schema({"vm_id": pl.String(), "timestamp": pl.Datetime("us", "UTC"), "value": pl.Float64()})
LOG = pl.Schema(
    {
        "time": pl.Datetime("us", "UTC"),
        "origin": pl.Datetime("us", "UTC"),
        "vm_id": pl.String(),
        "model_version": pl.String(),
        "role": pl.String(),
        "rollout": pl.String(),
        "step_seconds": pl.Int32(),
        "latency_ms": pl.Float32(),
        "failure": pl.String(),
        "predictions": pl.List(pl.Float64()),
    }
)
"""The columns of the prediction log that every model has."""
_SKEW = timedelta(minutes=5)
"""By how much the clock of the file system may lag behind that of the server."""
_AHEAD = timedelta(days=1)
"""By how much a question may be ahead of the moment when it was asked."""


def write(root: Path, model: str, table: pl.DataFrame) -> int:
    """Keep the values of `table` (`SCHEMA`; others are left out); return how many. Those that are no number are none.

    Raises InvalidData for a table without these columns, OSError.
    """
    if missing := sorted(set(SCHEMA) - set(table.columns)):
        raise InvalidData(f"truth needs the columns {', '.join(SCHEMA)}, {', '.join(missing)} is missing; add it")
    known = table.select(pl.col(name).cast(dtype) for name, dtype in SCHEMA.items()).filter(pl.col("value").is_finite())
    known = known.drop_nulls()
    for (day,), rows in known.group_by(pl.col("timestamp").dt.date()):
        _merge(_folder(root, model) / f"date={day}", rows)
    return known.height


def read(root: Path, model: str, since: datetime, until: datetime | None = None) -> pl.DataFrame:
    """Return the truth with timestamps from `since` to before `until` (UTC; None: all), a row a VM and step."""
    return _scan(_folder(root, model), SCHEMA, "timestamp", since, until)


def logged(root: Path, model: str, since: datetime, until: datetime | None = None) -> pl.DataFrame:
    """Return the prediction log (`LOG`) of what was asked from `since` to before `until`; a column that a file lacks is null.

    A file that was written for the last time before `since` is not opened: it holds nothing of that time. A question about a
    time still to come (a client's wrong clock) is left out: it has no truth, and must not be what "latest" means to others.
    """
    log = _scan(root / PREDICTIONS / f"model={model}", LOG, "time", since, until, since - _SKEW)
    return log.filter((pl.col("origin") <= pl.col("time") + _AHEAD).fill_null(True))


def errors(log: pl.DataFrame, truth: pl.DataFrame) -> pl.DataFrame:
    """Return the rows of `log` that can be judged, with what they are judged by.

    Added are error = Σ |forecast - truth| and actual = Σ |truth|, both in the model's unit, over the `steps` whose truth has
    arrived. Value k (from 0) is for the origin, rounded down to the grid, + (k + 1) steps. WAPE = Σ error / Σ actual over
    rows. A row without truth yet, with a failure or without a step is left out.
    """
    rows = log.with_row_index("_row")
    step = pl.duration(seconds=pl.col("step_seconds"))
    asked = rows.filter(pl.col("predictions").list.len() > 0, pl.col("step_seconds") > 0).select(
        "_row",
        "vm_id",
        pl.int_ranges(1, pl.col("predictions").list.len() + 1).alias("_k"),
        pl.from_epoch(_grid("origin"), "us").dt.replace_time_zone("UTC").alias("_origin"),
        "step_seconds",
        "predictions",
    )
    values = asked.explode("_k", "predictions", empty_as_null=False).with_columns(
        (pl.col("_origin") + step * pl.col("_k")).alias("timestamp")
    )
    known = truth.select("vm_id", "timestamp", "value")
    judged = (
        values.join(known, on=["vm_id", "timestamp"])
        .group_by("_row")
        .agg(
            (pl.col("predictions") - pl.col("value")).abs().sum().alias("error"),
            pl.col("value").abs().sum().alias("actual"),
            pl.len().alias("steps"),
        )
    )
    return rows.join(judged, on="_row", maintain_order="left").drop("_row")


def wape(judged: pl.DataFrame) -> float | None:
    """Return Σ error / Σ actual of `errors`; None where nothing was judged or all truth is 0."""
    error, actual = (float(judged[name].sum()) for name in ("error", "actual"))
    return error / actual if actual > 0 else None


def _grid(column: str) -> pl.Expr:
    width = pl.col("step_seconds").cast(pl.Int64) * 1_000_000
    return pl.col(column).dt.epoch("us") // width * width


def _folder(root: Path, model: str) -> Path:
    return root / TRUTH / f"model={model}"


def _merge(folder: Path, rows: pl.DataFrame) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with lockfile.held(folder / ".lock"):  # two writers of a day must not lose each other's rows
        path = folder / "truth.parquet"
        parts = [pl.read_parquet(path), rows] if path.exists() else [rows]
        merged = pl.concat(parts).unique(["vm_id", "timestamp"], keep="last").sort("vm_id", "timestamp")
        with aside(path) as temporary:
            merged.write_parquet(temporary)


def _scan(
    folder: Path,
    schema: pl.Schema,
    column: str,
    since: datetime,
    until: datetime | None,
    written: datetime | None = None,
) -> pl.DataFrame:
    """Read the days' files of `folder`, those columns and that span only; with `written` those last written from then on."""
    days = [d for d in sorted(folder.glob("date=*")) if _within(d.name.removeprefix("date="), since, until)]
    oldest = written.timestamp() if written else 0.0
    files = [file for day in days for file in sorted(day.glob("*.parquet")) if file.stat().st_mtime >= oldest]
    if not files:
        return pl.DataFrame(schema=schema)
    found = pl.scan_parquet(
        files, schema=schema, missing_columns="insert", extra_columns="ignore", hive_partitioning=False
    ).filter(pl.col(column) >= since)
    if until is not None:
        found = found.filter(pl.col(column) < until)
    return found.collect()


def _within(day: str, since: datetime, until: datetime | None) -> bool:
    return day >= since.date().isoformat() and (until is None or day <= until.date().isoformat())
