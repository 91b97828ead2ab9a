"""The records of a run: files under ``<home>/runs/<run_id>``, each written aside and renamed.

    run.json                            run_id, pipeline, digest, engine, parameters, state, started, finished,
                                        steps (names in order), cost (sums), pid
    pipeline.json                       the IR that runs
    steps/<step>/attempt-<n>.json       one attempt: see `Attempt`
    steps/<step>/attempt-<n>.log        its output

Times are seconds since the epoch, UTC.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Attempt:
    """One attempt of a step, or the note of an engine that it did not run (skipped, upstream_failed).

    `outcome` is the JSON of docs/adr/0001; `key` the cache key ("" when uncacheable), `parts` what it was made
    of (digests by name); `inputs` the input parameters and artifact URIs; `figures` the first entries of its metrics.
    """

    step: str
    number: int
    state: str
    started: float = 0.0
    finished: float = 0.0
    reason: str = ""
    outcome: Mapping[str, Any] | None = None
    failure: Mapping[str, Any] | None = None
    usage: Mapping[str, float] | None = None
    cost: Mapping[str, float] | None = None
    key: str = ""
    parts: Mapping[str, str] | None = None
    inputs: Mapping[str, Any] | None = None
    figures: Mapping[str, Any] | None = None
    result: str = ""


class Run:
    """The records of one run. Any number of processes may write attempts of different steps at once."""

    def __init__(self, home: Path, run_id: str) -> None:
        raise NotImplementedError

    def start(self, document: Mapping[str, Any]) -> None:
        """Write run.json with state running (an engine's first act). Raises InvalidParameter if the run exists."""
        raise NotImplementedError

    def finish(self, state: str) -> None:
        """Write the final state and the sums of all attempts' cost."""
        raise NotImplementedError

    def begin(self, step: str) -> tuple[int, Path]:
        """Claim the next attempt of a step: its number, and its (empty) log file."""
        raise NotImplementedError

    def write(self, attempt: Attempt) -> Path:
        """Write an attempt's record; also how an engine notes a step that it skipped."""
        raise NotImplementedError

    def attempts(self, step: str) -> list[Attempt]:
        """All attempts of a step, oldest first."""
        raise NotImplementedError
