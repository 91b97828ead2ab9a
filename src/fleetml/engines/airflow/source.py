"""What every task of one DAG knows, and how it finds the records of its run."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fleetml.engines.airflow.secrets import from_airflow
from fleetml.pipeline import Plan
from fleetml.records import Run
from fleetml.runners import choice
from fleetml.settings import Settings
from fleetml.step import RunContext
from fleetml.triggers import Triggers

_LONGEST = 200  # characters of a run's id


@dataclass(frozen=True)
class Source:
    """One pipeline: its plan, where the IR lies, its triggers, the settings."""

    plan: Plan
    path: Path
    triggers: Triggers
    settings: Settings

    def records(self, run: Any) -> Run:
        """Return the records of a DAG run."""
        return Run(self.settings.home, record_id(run.dag_id, run.run_id))

    def start(self, run: Any, parameters: Mapping[str, Any]) -> None:
        """Open the records of a DAG run. Raises OSError."""
        entries = {
            "pipeline": self.plan.name,
            "digest": self.plan.digest,
            "engine": "airflow",
            "dag_id": run.dag_id,
            "dag_run_id": run.run_id,
            "reopened": False,
            "parameters": dict(parameters),
            "steps": list(self.plan.steps),
        }
        self.records(run).start(entries, self.path)

    def context(self, run: Any) -> RunContext:
        """Return the run as `fleetml.step` knows it; `start` was called before."""
        records = self.records(run)
        return RunContext(
            run_id=records.run_id,
            pipeline=self.plan.name,
            settings=self.settings,
            images=choice.images(self.settings),
            created=records.read()["started"],
            scheduled=run.data_interval_end.timestamp() if run.data_interval_end else 0.0,
            resume=f"fleetml resume {records.run_id}",
            secrets=from_airflow,
        )


def record_id(dag_id: str, run_id: str) -> str:
    """Return the id of the records of a DAG run: Airflow's run id, made unique, for that is so within one DAG only."""
    name = run_id if run_id.startswith(f"{dag_id}__") else f"{dag_id}__{run_id}"
    return re.sub(r"[^A-Za-z0-9_.:+-]", "-", name)[:_LONGEST]


def task_id(step: str) -> str:
    """Return the Airflow task id of a step: its groups' ids and its own, joined by dots."""
    return step.replace("/", ".")
