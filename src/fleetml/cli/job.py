"""Training jobs: a run of the matching pipeline on this machine."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fleetml.settings import Settings


def read(place: Path, settings: Settings) -> Mapping[str, Any] | None:
    """Return the job in a file; None for a folder, and for a file that is another thing.

    Raises ConfigurationError for a workflow: `train` runs pipelines of the project in its Airflow.
    """
    from fleetml.errors import ConfigurationError
    from fleetml.workflow import job, source

    if not place.is_file() or place.suffix not in source.SUFFIXES:
        return None
    found = job.read(place, settings.home / "ir")
    if source.is_workflow(found):
        raise ConfigurationError(
            f"train takes a training job or a pipeline of the project, {place} is a workflow; use run"
        )
    return found if source.is_job(found) else None


def run(found: Mapping[str, Any], place: Path, settings: Settings) -> int:
    """Run a job; return the exit status as `fleetml run` does. Raises InvalidWorkflow, InvalidParameter."""
    from fleetml.cli.pipelines import defaults, triggers_of
    from fleetml.cli.run import execute, fresh_id
    from fleetml.engines.local import Job
    from fleetml.pipeline import load
    from fleetml.workflow import beforehand, job, source

    folder = place.parent.absolute()
    with source.naming(place):
        if job.is_forecast(found):
            ir = settings.project / "dags" / "train_forecaster" / "pipeline.yaml"
            given = job.forecast_parameters(found, folder)
            triggers = ir
        else:
            ir, given, triggers = source.keep(job.workflow(found, folder), settings.home), {}, place
    beforehand.require_data(given.get("source"), f"{place}: dataset.uri")
    plan = load(ir, settings.home / "ir")
    parameters = plan.bind({**defaults(triggers, plan, settings), **given})
    run_id, asked = fresh_id(plan.name, settings), triggers_of(triggers, plan, settings)
    workers = os.cpu_count() or 1
    made = Job(plan, ir, parameters, run_id, workers=workers, retries=asked.retries, budget=asked.budget)
    return execute(made, settings)
