"""How every engine begins and ends a run: its record is written, then lineage, traces and figures are told."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fleetml import lineage, tracing
from fleetml.cost.budget import Budget
from fleetml.engines import figures
from fleetml.records import Run


def begin(records: Run, document: Mapping[str, Any], pipeline: Path | None = None) -> None:
    """Open the record of a run (`Run.start`) and tell that it began, or goes on. Raises OSError, ConfigurationError."""
    records.start({**document, "begun": time.time()}, pipeline)
    figures.run_began(records)
    lineage.run_started(records)


def of_budget(budget: Budget | None) -> dict[str, Any]:
    """Return the entry of a run's record that says what it may cost; one that is resumed without has none any more."""
    return {"budget": budget.to_json() if budget else None}


def end(records: Run, state: str, **entries: Any) -> None:
    """Write how a run ended, with further entries of its record (`Run.finish`), and tell it.

    Raises OSError, ConfigurationError.
    """
    attempts = records.finish(state, **entries)
    figures.run_ended(records, attempts)
    tracing.run_ended(records)
    lineage.run_ended(records)
