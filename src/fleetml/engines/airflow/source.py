"""What every task of one DAG knows, and how it finds the records of its run."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from airflow.configuration import AIRFLOW_HOME

from fleetml import lineage
from fleetml.engines import record
from fleetml.engines.airflow.secrets import from_airflow
from fleetml.engines.start import shortened
from fleetml.errors import InvalidParameter
from fleetml.pipeline import Plan, load
from fleetml.pipeline.model import Loop
from fleetml.records import Run
from fleetml.runners import choice
from fleetml.settings import Settings
from fleetml.step import RunContext
from fleetml.triggers import FILE, Triggers
from fleetml.triggers import load as load_triggers


@dataclass(frozen=True, repr=False)
class Source:
    """One pipeline: its plan, where the IR lies, its triggers, the settings.

    `group` is the id of the task group that it fills, "" for a DAG of its own; `prefix` is what the ids of its tasks begin with.
    """

    plan: Plan
    path: Path
    triggers: Triggers
    settings: Settings
    group: str = ""
    prefix: str = ""

    def with_defaults(self, parameters: Mapping[str, Any], place: str) -> Source:
        """Return the pipeline with further defaults, which go before those of triggers.yaml.

        Raises ConfigurationError naming `place` for an unknown one, InvalidParameter for one of the wrong type.
        """
        if not parameters:
            return self
        triggers = replace(self.triggers, defaults={**self.triggers.defaults, **parameters})
        triggers.check(self.plan, Path(place))
        return replace(self, triggers=triggers)

    def __repr__(self) -> str:
        """Airflow writes this into a DAG's serialised form, where a task is mapped: short, and another for another IR."""
        return f"{self.plan.name} ({self.plan.digest[:12]})"

    @property
    def asset(self) -> str:
        """The asset that has an event for every run of the pipeline that succeeded."""
        return f"fleetml://{quote(self.plan.name, safe='')}"

    def task_id(self, step: str) -> str:
        """Return the id of the task whose XCom is a step's outcome."""
        loop = isinstance(self.plan.steps.get(step), Loop)
        return self.prefix + task_id(f"{step}/{OUTCOME}" if loop else step)

    def records(self, run: Any) -> Run:
        """Return the records of a DAG run."""
        return Run(self.settings.home, record_id(run.dag_id, run.run_id, self.group))

    def start(self, run: Any, parameters: Mapping[str, Any]) -> None:
        """Open the records of a DAG run. Raises InvalidParameter where they are those of another run, OSError."""
        _require_own(self.records(run), run)
        entries = {
            "pipeline": self.plan.name,
            "digest": self.plan.digest,
            "engine": "airflow",
            "dag_id": run.dag_id,
            "dag_run_id": run.run_id,
            "reopened": False,
            "parameters": dict(parameters),
            "steps": list(self.plan.steps),
            **record.of_budget(self.triggers.budget),
            **({} if self.group else {"due": run.run_after.timestamp()}),
            **({"parent": run.conf[PARENT]} if PARENT in (run.conf or {}) and not self.group else {}),
        }
        record.begin(self.records(run), entries, self.path)
        lineage.flush()

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
            budget=self.triggers.budget,
        )


def read(path: Path, triggers: Triggers, triggers_file: Path, settings: Settings) -> Source:
    """Return the source of the IR at `path`. Raises FleetMLError for what cannot run."""
    plan = load(path, settings.home / "ir", fold=True)
    choice.require(plan, settings)
    triggers = triggers.remembering(plan, settings)
    triggers.check(plan, triggers_file)
    return Source(plan, path, triggers, settings)


def opened(pipeline: str | Path, folder: Path, settings: Settings | None) -> Source:
    """Return the source of a pipeline (its folder, or an IR) and the triggers beside it, seen from `folder`.

    Raises FleetMLError for what is missing or cannot run.
    """
    place = folder / pipeline
    inside = place.is_dir()
    settings = settings or settings_of(place if inside else place.parent)
    named = FILE if inside or place.stem == "pipeline" else f"{place.stem}.{FILE}"
    triggers_file = place / named if inside else place.with_name(named)
    triggers = load_triggers(triggers_file, settings)
    return read(place / triggers.pipeline if inside else place, triggers, triggers_file, settings)


def settings_of(folder: Path) -> Settings:
    """Return the settings of the project around a folder of pipelines; where it is the project itself, home is below Airflow's."""
    settings = Settings.from_environment(os.environ, folder, rootless=True)
    if settings.project.is_relative_to(folder):  # nothing is written into a team's DAG folder
        home = {"FLEETML_HOME": f"{AIRFLOW_HOME}/fleetml"}
        settings = Settings.from_environment({**home, **os.environ}, folder, rootless=True)
    return settings


def dag_id(pipeline: str) -> str:
    """Return the DAG id of a pipeline: its name, as Python would spell it."""
    return pipeline.replace("-", "_")


def record_id(dag_id: str, run_id: str, group: str = "") -> str:
    """Return the id of the records of a DAG run, or of one group in it.

    It is Airflow's run id, made unique: that is so within one DAG only. No DAG's id holds a colon.
    """
    own = run_id.removeprefix(f"{dag_id}__")
    return shortened(f"{dag_id}:{group}__{own}" if group else f"{dag_id}__{own}")


PARENT = "fleetml:parent"  # in the conf of a run that a step of another one started: which (docs/adr/0006); no parameter's name
OUTCOME = "outcome"  # the task of a loop that collects what its iterations gave


def task_id(step: str) -> str:
    """Return the Airflow task id of a step within its DAG or group: its groups' ids and its own, joined by dots."""
    return step.replace("/", ".")


def _require_own(records: Run, run: Any) -> None:
    """Refuse a DAG run whose id is that of a run of another engine, or of another DAG's. Raises InvalidParameter."""
    if not records.exists():
        return
    known = records.read()
    if (known["engine"], known.get("dag_id"), known.get("dag_run_id")) != ("airflow", run.dag_id, run.run_id):
        raise InvalidParameter(
            f"a run id is used once, '{records.run_id}' is that of another run (engine {known['engine']}); "
            "trigger it with another id"
        )
