"""Range queries to Prometheus or anything that speaks its HTTP API (VictoriaMetrics, Thanos, Mimir)."""

import http.client
import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import polars as pl

from components.ingest.mapping import Queries
from fleetml.data import schema
from fleetml.errors import InvalidData, InvalidParameter, Unavailable

# Prometheus refuses more than 11,000 points a series; fewer also keep one answer small.
POINTS_PER_QUERY = 2_000
TIMEOUT_SECONDS = 60
_REFUSED = (400, 422)  # the API's codes for a query that is wrong; what else it answers is no fault of the query


def read(source: str, queries: Queries, days: float, end: datetime | None) -> pl.DataFrame:
    """Return the canonical rows of the `days` before `end` (exclusive; None: now), one per step.

    `source` is ``prometheus+http://host:port[/prefix][?step=SECONDS]``; the step goes before the mapping's.
    Raises Unavailable when the server does not answer, InvalidData when it refuses a query or knows nothing.
    """
    address, step = _parse(source, queries)
    stop = int((end or datetime.now(UTC)).timestamp()) // step * step
    start = stop - round(days * 86_400 / step) * step
    parts = []
    for metric, query in queries.queries.items():
        for first, last in _chunks(start, stop, step):
            result = _query_range(address, metric, _expression(query, queries, step), first, last, step)
            parts += [_series(metric, series, queries) for series in result]
    if not parts:
        raise InvalidData(
            f"{address}: none of the queries of mapping {queries.name} returned a series between "
            f"{datetime.fromtimestamp(start, UTC).isoformat()} and {datetime.fromtimestamp(stop, UTC).isoformat()}; "
            "is the exporter scraped, and was it then?"
        )
    return _wide(pl.concat(parts))


def _parse(source: str, queries: Queries) -> tuple[str, int]:
    parts = urllib.parse.urlsplit(source.removeprefix("prometheus+"))
    if parts.scheme not in ("http", "https") or "@" in parts.netloc or not _reachable(parts):
        raise InvalidParameter(  # not the source itself: it may hold a password
            "a Prometheus source is prometheus+http(s)://host:port, without user and password (they would be recorded "
            f"with the run), got {parts.scheme}://{parts.netloc.rpartition('@')[2]}; mend it"
        )
    options = dict(urllib.parse.parse_qsl(parts.query))
    text = options.pop("step", str(queries.step_seconds))
    if options or not text.isdigit() or not int(text):
        raise InvalidParameter(f"{source}: the only option is step, whole seconds; got {parts.query!r}")
    return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}", int(text)


def _reachable(parts: urllib.parse.SplitResult) -> bool:
    try:
        return bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number
        return False


def _chunks(start: int, stop: int, step: int) -> Iterator[tuple[int, int]]:
    """First and last instants of each query; both ends are evaluated, so the last one stays before `stop`."""
    for first in range(start, stop, POINTS_PER_QUERY * step):
        yield first, min(first + POINTS_PER_QUERY * step, stop) - step


def _expression(query: str, queries: Queries, step: int) -> str:
    labels = ", ".join(label for label in (queries.vm_label, queries.region_label, queries.host_label) if label)
    return query.replace("$labels", labels).replace("$window", f"{max(step, 60)}s")


def _query_range(address: str, metric: str, query: str, start: int, end: int, step: int) -> list[dict[str, Any]]:
    form = urllib.parse.urlencode({"query": query, "start": start, "end": end, "step": step}).encode()
    request = urllib.request.Request(f"{address}/api/v1/query_range", data=form)  # noqa: S310 - http(s) by _parse
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer:  # noqa: S310
            document = json.load(answer)
        return document["data"]["result"]
    except urllib.error.HTTPError as error:
        if error.code in _REFUSED:
            raise InvalidData(
                f"{address} refused the query for {metric} with HTTP {error.code}: {_reason(error)}; "
                f"correct it in the mapping: {query}"
            ) from None
        said = f"HTTP {error.code}: {_reason(error)}"
    except (OSError, http.client.HTTPException, ValueError, LookupError, TypeError) as error:
        said = str(error) or type(error).__name__
    raise Unavailable(f"Prometheus at {address} does not answer as one: {said}; check the address and that it runs")


def _reason(error: urllib.error.HTTPError) -> str:
    body = error.read().decode(errors="replace")
    try:
        return json.loads(body)["error"]
    except (ValueError, KeyError, TypeError):
        return body[:200].strip() or str(error.reason)


def _series(metric: str, series: dict[str, Any], queries: Queries) -> pl.DataFrame:
    """One series as (vm_id, region, host, timestamp, metric, value)."""
    labels = series["metric"]
    if queries.vm_label not in labels:
        raise InvalidData(
            f"the query for {metric} returned a series without label {queries.vm_label!r}: {labels}; "
            f"aggregate by it (sum by ($labels)), or set prometheus.vm_label in mapping {queries.name}"
        )
    times, values = zip(*series["values"], strict=True)
    named = {"vm_id": queries.vm_label, "region": queries.region_label, "host": queries.host_label}
    return pl.DataFrame(
        {
            **{
                name: pl.Series([labels.get(label)], dtype=pl.String).new_from_index(0, len(times))
                for name, label in named.items()
            },
            "timestamp": pl.Series(times, dtype=pl.Float64),
            "metric": pl.Series([metric]).new_from_index(0, len(times)),
            "value": pl.Series(values, dtype=pl.String).cast(pl.Float64, strict=False).fill_nan(None),
        }
    )


def _wide(long: pl.DataFrame) -> pl.DataFrame:
    """One row per (vm_id, timestamp), a column per metric; two series of one VM and metric are refused."""
    key = [*schema.KEY, "metric"]
    if clash := long.select(key).is_duplicated().sum():
        example = long.filter(long.select(key).is_duplicated()).row(0, named=True)
        raise InvalidData(
            f"a query must return one series per VM; {clash} samples clash, e.g. {example['metric']} "
            f"of {example['vm_id']}; aggregate in the mapping (sum by ($labels))"
        )
    places = long.group_by("vm_id").agg(pl.col("region", "host").drop_nulls().first())
    wide = long.pivot("metric", index=list(schema.KEY), values="value").join(places, on="vm_id", how="left")
    time = pl.from_epoch((pl.col("timestamp") * 1e6).round().cast(pl.Int64), time_unit="us").dt.replace_time_zone("UTC")
    return schema.conform(wide.with_columns(time).lazy()).collect()
