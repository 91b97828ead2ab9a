"""What a run of a pipeline usually takes, from the records of those that were."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean
from typing import Any

from fleetml.errors import ConfigurationError
from fleetml.frozen import frozen
from fleetml.records.run import Run, runs

_LATEST = 20


@frozen
class Usual:
    """Means over `runs` runs: wall time [s], energy [kWh]; `longest` [s] of them."""

    runs: int
    seconds: float
    longest: float
    kwh: float


def usual(home: Path, pipeline: str) -> Usual:
    """Return the means of the latest 20 runs of a pipeline that succeeded and did all the work: at one stretch, no step from the cache.

    Raises ConfigurationError where there is none.
    """
    whole = list(itertools.islice(_whole(home, pipeline), _LATEST))
    if not whole:
        names = sorted({document["pipeline"] for document in runs(home)})
        raise ConfigurationError(
            f"what a run takes is known from runs of its pipeline that succeeded with no step from the cache, {pipeline!r} has none "
            f"in {home / 'runs'} (there are runs of {', '.join(names) or 'none'}); run it once, or give --hours and --kwh"
        )
    seconds = [document["finished"] - document["started"] for document in whole]
    return Usual(len(whole), fmean(seconds), max(seconds), fmean(document["cost"]["kwh"] for document in whole))


def _whole(home: Path, pipeline: str) -> Iterator[dict[str, Any]]:
    for document in runs(home):
        if (
            (document["pipeline"], document["state"]) == (pipeline, "succeeded")
            and (document.get("finished") or 0) > document["started"]
            and (document.get("cost") or {}).get("kwh") is not None
            and not document.get("reopened")
            and document.get("begun", 0) <= document["started"]  # a resumed run began again after it was started
            and not any(attempt.cached for attempt in Run(home, document["run_id"]).latest().values())
        ):
            yield document
