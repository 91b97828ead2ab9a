"""The values around a step: the run it belongs to, and how it ended."""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from fleetml.cost.budget import Budget
from fleetml.frozen import field, frozen
from fleetml.images import Images
from fleetml.records import Run
from fleetml.runners import Usage
from fleetml.secrets import Lookup, from_environment
from fleetml.settings import Settings
from fleetml.step.failure import Failure


@frozen
class RunContext:
    """The run a step belongs to, as every engine knows it.

    `run_id` was minted by whoever started the run, `created` is when [s since the epoch], `scheduled` for when
    (the end of its data interval; 0: the same). `caching` False: reuse nothing, but still store results.
    `resume` is the command a user is told after a failure, `secrets` finds what steps ask for, `budget` limits the cost.
    """

    run_id: str
    pipeline: str
    settings: Settings
    images: Images
    created: float
    scheduled: float = 0.0
    caching: bool = True
    resume: str = ""
    secrets: Lookup = from_environment
    budget: Budget | None = None

    def names(self, step: str) -> dict[str, str]:
        """Return the values of the run placeholders for `step`; `Plan.resolve` wants them too."""
        known = _of_run(self.pipeline, self.run_id, self.settings.home, self.created, self.scheduled or self.created)
        task, uuid = step.rsplit("/", 1)[-1], f"{self.run_id}/{step}"
        return {**known, "pipeline_task_name": task, "pipeline_task_uuid": uuid}


@lru_cache(maxsize=1)
def _of_run(pipeline: str, run_id: str, home: Path, created: float, scheduled: float) -> Mapping[str, str]:
    # The run's id with the pipeline's name before it, which is where a cluster's begins
    resource = run_id if run_id.startswith(f"{pipeline}-") else f"{pipeline}-{run_id}"
    return {
        "pipeline_job_name": pipeline,
        "pipeline_job_uuid": run_id,
        "pipeline_job_resource_name": resource,
        "pipeline_job_create_time_utc": _rfc3339(created),
        "pipeline_job_schedule_time_utc": _rfc3339(scheduled),
        "pipeline_root": str(home / "results"),
        "workspace_path": str(Run(home, run_id).workspace),
    }


def _rfc3339(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


@frozen
class StepOutcome:
    """How a step ended. `to_json()` is what travels between engine tasks (docs/adr/0001), the rest is for display.

    `seconds` of wall time with everything around the process; `cost` as in `fleetml.cost.estimate.Cost`.
    """

    state: Literal["succeeded", "failed", "cancelled"]
    cached: bool = False
    parameters: Mapping[str, Any] = field(default_factory=dict)
    artifacts: Mapping[str, list[dict[str, Any]]] = field(default_factory=dict)
    failure: Failure | None = None
    usage: Usage = field(default_factory=Usage)
    cost: Mapping[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    attempt: int = 0

    @property
    def figures(self) -> dict[str, Any]:
        """The first three entries of the metadata of its metrics artifact."""
        return figures(self.artifacts)

    def to_json(self) -> dict[str, Any]:
        """Return state, cached, parameters, artifacts."""
        return {
            "state": self.state,
            "cached": self.cached,
            "parameters": dict(self.parameters),
            "artifacts": dict(self.artifacts),
        }


def figures(artifacts: Mapping[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Return the first three entries of the metadata of the first ``system.Metrics`` that has any."""
    for items in artifacts.values():
        for item in items:
            if item["type"] == "system.Metrics" and item["metadata"]:
                return dict(list(item["metadata"].items())[:3])
    return {}
