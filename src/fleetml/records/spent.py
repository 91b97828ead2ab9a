"""What a run cost so far, and with it all runs of its pipeline that began in the same month (UTC)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from fleetml.cost.budget import Budget, Limits, month_of
from fleetml.cost.estimate import Cost, read, total
from fleetml.records.run import Run, runs


def spent(run: Run, budget: Budget) -> tuple[Cost, Cost]:
    """Return the costs of a run and of its month; of runs under way those of the attempts that are over.

    Where the budget leaves the month free the others are not looked at. Raises OSError, ConfigurationError.
    """
    document = run.read()
    own = _so_far(run, document)
    others = [] if budget.month == Limits() else _others(run, document)
    return read(own), read(total([own, *others]))


def _others(run: Run, document: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    home, since = run.folder.parents[1], month_of(document.get("begun") or document["started"])
    for each in runs(home):
        if each["pipeline"] == document["pipeline"] and each["run_id"] != run.run_id and each["started"] >= since:
            yield _of(home, each)


def _of(home: Path, document: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what another run cost: its record's sum once it is over, as a running one's is that of before it went on."""
    if document["state"] != "running" and document.get("cost"):
        return dict(document["cost"])
    try:
        return _so_far(Run(home, document["run_id"]), document)
    except FileNotFoundError:  # `fleetml gc` removes it just now
        return {}


def _so_far(run: Run, document: Mapping[str, Any]) -> dict[str, Any]:
    return total(attempt.cost for step in document["steps"] for attempt in run.attempts(step) if attempt.cost)
