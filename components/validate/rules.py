"""The rules of the canonical table as a pandera schema, and what broke them in a user's words."""

from datetime import UTC, datetime, timedelta

import pandera.polars as pandera
import polars as pl

from fleetml.data import schema
from fleetml.errors import InvalidData

CLOCK_SKEW = timedelta(hours=1)
EXAMPLES = 5
REMEDY = "correct the source or its mapping (components/ingest/README.md)"


def canonical(now: datetime) -> pandera.DataFrameSchema:
    """Return the schema: types, keys without gaps, finite metrics within their limits, times in order and past."""
    columns = {
        column.name: pandera.Column(
            column.polars,
            _metric_checks(column) if column.is_metric else [],
            nullable=column.name not in schema.KEY,
        )
        for column in schema.COLUMNS
    }
    columns["timestamp"].checks = [
        _check(pl.col("timestamp") <= now + CLOCK_SKEW, "must not lie in the future"),
        _check(_after_the_row_before(), "must ascend within a VM, none twice"),
    ]
    return pandera.DataFrameSchema(columns)


def _metric_checks(column: schema.Column) -> list[pandera.Check]:
    value = pl.col(column.name)
    return [
        _check(value.is_finite(), "must be finite"),
        _check(value >= 0, "must not be negative"),
        _check(value <= column.limit, f"must be at most {column.limit:g} {column.unit}"),
    ]


def _check(condition: pl.Expr, rule: str) -> pandera.Check:
    """A check of one condition over all columns; a null breaks no rule but that of the keys."""
    return pandera.Check(lambda data: data.lazyframe.select(condition.fill_null(True)), error=rule)


def _after_the_row_before() -> pl.Expr:
    time, vm = pl.col("timestamp"), pl.col("vm_id")
    return (time > time.shift()) | (vm != vm.shift())


def enforce(frame: pl.DataFrame, now: datetime | None = None) -> None:
    """Raise InvalidData with every broken rule: column, rule, count and up to five example rows."""
    try:
        canonical(now or datetime.now(UTC)).validate(frame, lazy=True)
    except pandera.errors.SchemaErrors as errors:
        lacking = pl.when(pl.col("check") == "column_in_dataframe").then("failure_case")  # each is a finding of its own
        broken = errors.failure_cases.group_by("column", "check", lacking.alias("lacking"), maintain_order=True).agg(
            pl.len(), pl.col("index").drop_nulls().head(EXAMPLES), pl.col("failure_case").first()
        )
        findings = [_finding(frame, *row) for row in broken.drop("lacking").iter_rows()]
        raise InvalidData("the data break the canonical schema: " + "; ".join([*findings, REMEDY])) from None


def _finding(frame: pl.DataFrame, column: str | None, check: str, count: int, rows: list[int], case: str) -> str:
    if check == "column_in_dataframe":
        return f"column {case!r} is missing"
    if check.startswith("dtype("):
        return f"column {column!r} must be {schema.POLARS[str(column)]}, is {case}"
    rule = "must not be empty" if check == "not_nullable" else check
    examples = [_shown(frame.row(index, named=True), str(column)) for index in rows]
    return f"column {column!r} {rule}: {count} of {frame.height} rows break this, e.g. {', '.join(examples)}"


def _shown(row: dict[str, object], column: str) -> str:
    time = row["timestamp"]
    at = time.isoformat() if isinstance(time, datetime) else str(time)
    return f"{row['vm_id']} at {at}" + ("" if column in schema.KEY else f": {row[column]}")
