"""How every engine begins and ends a run: its record is written, then lineage, traces and figures are told."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fleetml import lineage, tracing
from fleetml.cost.budget import Budget, month_of
from fleetml.cost.estimate import total
from fleetml.engines import figures
from fleetml.records import Run, runs


def begin(records: Run, document: Mapping[str, Any], pipeline: Path | None = None) -> None:
    """Open the record of a run (`Run.start`) and tell that it began, or goes on. Raises OSError, ConfigurationError."""
    if document.get("budget"):
        document = {**document, "month": _month_before(records, document["pipeline"])}
    records.start({**document, "begun": time.time()}, pipeline)
    figures.run_began(records)
    lineage.run_started(records)


def of_budget(budget: Budget | None) -> dict[str, Any]:
    """Return the entry of a run's record that says what it may cost; one that is resumed without has none any more."""
    return {"budget": budget.to_json() if budget else None}


def _month_before(records: Run, pipeline: str) -> dict[str, Any]:
    """Return what the other runs of a pipeline cost that began in this month (UTC)."""
    since, home = month_of(time.time()), records.folder.parents[1]
    others = (each for each in runs(home) if each["pipeline"] == pipeline and each["run_id"] != records.run_id)
    return total(each["cost"] for each in others if each.get("cost") and each.get("started", 0) >= since)


def end(records: Run, state: str, **entries: Any) -> None:
    """Write how a run ended, with further entries of its record (`Run.finish`), and tell it.

    Raises OSError, ConfigurationError.
    """
    attempts = records.finish(state, **entries)
    figures.run_ended(records, attempts)
    tracing.run_ended(records)
    lineage.run_ended(records)
