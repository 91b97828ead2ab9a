"""The rules of the feature table, held before it is written to the feature store."""

from __future__ import annotations

import polars as pl

from fleetml.data import schema
from fleetml.errors import InvalidData

_EXAMPLES = 3


def check(table: pl.DataFrame) -> None:
    """Raise InvalidData naming column, rule, count and examples of the first rule that rows break."""
    time = pl.col("event_timestamp")
    rules = {
        ("vm_id", "must name a VM"): pl.col("vm_id").is_null() | (pl.col("vm_id") == ""),
        ("event_timestamp", f"must be on the grid of {schema.STEP_SECONDS} s"): time.is_null()
        | (time != time.dt.truncate(f"{schema.STEP_SECONDS}s")),
        ("event_timestamp", "must be given once for a VM"): pl.struct("vm_id", "event_timestamp").is_duplicated(),
        **{
            (name, "must be finite and not negative"): ~pl.col(name).is_finite() | (pl.col(name) < 0)
            for name in schema.FEATURES
        },
    }
    for (column, rule), broken in rules.items():
        found = table.filter(broken)
        if len(found):
            examples = found.select(*dict.fromkeys(("vm_id", "event_timestamp", column))).head(_EXAMPLES).rows()
            raise InvalidData(
                f"feature table: {column} {rule}, {len(found)} of {len(table)} rows break that, such as {examples}; "
                "mend the source"
            )
