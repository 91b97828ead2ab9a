"""Read a window of VM metrics from anywhere into the canonical table."""

import tempfile
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import polars as pl

from components.ingest import convert, files, mapping, prometheus
from fleetml.component import Artifact
from fleetml.data import schema, synthetic
from fleetml.errors import ConfigurationError, InvalidData, InvalidParameter

MOST_DUPLICATES = 0.10  # share of rows


def ingest(source: str, mapping: str, window_days: int, window_end: str, data: Artifact, metrics: Artifact) -> None:
    """Write the last `window_days` of `source` before `window_end` as the canonical table.

    Args:
        source: "" or ``synthetic://?…`` (the generator), a file, folder, pattern or fsspec URL of CSV or Parquet,
            or ``prometheus+http://host:port`` (VictoriaMetrics too).
        mapping: YAML file or name of a built-in mapping; "" recognises the format by its columns.
        window_days: Length of the window in days.
        window_end: End of the window, exclusive, ISO 8601 (UTC unless it says otherwise); "" is the end of the data,
            for the generator the last midnight, for Prometheus now.

    Raises InvalidData for a source that cannot be read or breaks the rules, InvalidParameter and
    ConfigurationError for a parameter or mapping that does.
    """
    end = _end(window_end)
    if window_days <= 0:
        raise InvalidParameter(f"window_days must be above 0, got {window_days}; give the days a run covers")
    if not source or source.startswith("synthetic://"):
        fleet = synthetic.parse(source or "synthetic://")
        days = min(fleet.days or window_days, window_days)
        frame = synthetic.generate(replace(fleet, days=days), end)
    elif source.startswith("prometheus+"):
        frame = prometheus.read(source, _queries(mapping), window_days, end)
    else:
        frame = _read_files(source, mapping, window_days, end)
    rows = frame.height
    frame = _without_duplicates(source, frame)
    schema.write(frame, data.path)
    time = pl.col("timestamp")
    first, last, vms = frame.select(
        time.min().alias("first"), time.max().alias("last"), pl.col("vm_id").n_unique()
    ).row(0)
    days_found = round((last - first) / timedelta(days=1), 2)
    metrics.log(rows=frame.height, vms=vms, days=days_found, duplicates=rows - frame.height)
    metrics.log(missing_metrics=", ".join(_absent(frame)))
    data.metadata.update(rows=frame.height, vms=vms, first=first.isoformat(), last=last.isoformat())
    data.metadata.update(source=_public(source))


def _end(window_end: str) -> datetime | None:
    try:
        return synthetic.instant(window_end) if window_end else None
    except ValueError:
        raise InvalidParameter(
            f"window_end must be a time in ISO 8601, got {window_end!r}; write it like 2026-01-31T00:00:00Z"
        ) from None


def _queries(name: str) -> mapping.Queries:
    found = mapping.load(name or "node_exporter")
    if not isinstance(found, mapping.Queries):
        raise ConfigurationError(f"mapping {name} has no 'queries', which a Prometheus source needs; add them")
    return found


def _read_files(source: str, name: str, days: float, end: datetime | None) -> pl.DataFrame:
    given = mapping.load(name) if name else None
    if isinstance(given, mapping.Queries):
        raise ConfigurationError(f"mapping {name} holds PromQL queries, but {source} is no Prometheus; use 'columns'")
    with tempfile.TemporaryDirectory(prefix="fleetml-ingest-") as scratch:
        table = files.scan(source, files.locate(source, Path(scratch)), given)
        present = [name for name in table.collect_schema().names() if name != files.FILE]
        chosen = given or mapping.recognise(source, present)
        mapping.require(source, chosen, present)
        return _window(source, table, chosen, days, end)


def _window(source: str, table: pl.LazyFrame, by: mapping.Mapping, days: float, end: datetime | None) -> pl.DataFrame:
    """Return the rows of [end - days, end) in canonical columns; `end` None: just after the last row."""
    rows = convert.canonical(table, by)
    time = pl.col("timestamp")
    span = convert.collect(source, rows.select(time.min().alias("first"), time.max().alias("last"), pl.len()))
    first, last, count = span.row(0)
    if not count:
        raise InvalidData(f"{source}: holds a header but no rows; give a file with data")
    if last is None:
        convert.refuse_bad(source, table, by)
    stop = end or last + timedelta(microseconds=1)
    start = stop - timedelta(days=days)
    # A row whose time is unreadable belongs to no window, but must not vanish silently: keep it, to be refused.
    within = time.is_between(start, stop, closed="left") | time.is_null()
    frame = convert.collect(source, rows.filter(within))
    if frame[convert.BAD].any():
        convert.refuse_bad(source, table, by)
    if frame.is_empty():
        raise InvalidData(
            f"{source}: has no rows in the window {start.isoformat()} to {stop.isoformat()}; its data span "
            f"{first.isoformat()} to {last.isoformat()}; set window_end and window_days to lie within"
        )
    for key in schema.KEY:
        if empty := frame[key].null_count():
            raise InvalidData(f"{source}: {key} must not be empty; {empty} rows have none; fill or remove them")
    return frame.drop(convert.BAD)


def _without_duplicates(source: str, frame: pl.DataFrame) -> pl.DataFrame:
    """Return the frame sorted, of each (vm_id, timestamp) the first row; refuses more than `MOST_DUPLICATES`."""
    frame = frame.sort(schema.KEY, maintain_order=True)
    again = pl.all_horizontal(pl.col(key) == pl.col(key).shift() for key in schema.KEY).fill_null(False)
    repeated = frame.filter(again)
    if repeated.height > MOST_DUPLICATES * frame.height:
        examples = [f"{vm} {time.isoformat()}" for vm, time in repeated.select(schema.KEY).head(5).iter_rows()]
        raise InvalidData(
            f"{source}: (vm_id, timestamp) must be unique; {repeated.height} of {frame.height} rows repeat one, "
            f"more than {MOST_DUPLICATES:.0%}, e.g. {examples}; is a file there twice, or is the VM column wrong?"
        )
    return frame.filter(~again) if repeated.height else frame


def _absent(frame: pl.DataFrame) -> list[str]:
    return [name for name in schema.METRICS if frame[name].null_count() == frame.height]


def _public(source: str) -> str:
    """The source without credentials."""
    parts = urlsplit(source)
    return source.replace(f"{parts.netloc}", parts.netloc.rpartition("@")[2], 1) if "@" in parts.netloc else source
