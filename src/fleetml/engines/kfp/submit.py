"""Upload a pipeline, start a run of it, let it recur."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fleetml import ranges
from fleetml.engines.kfp.cluster import Cluster
from fleetml.engines.kfp.pins import pinned
from fleetml.errors import ConfigurationError, UnsupportedConstruct
from fleetml.images import Images
from fleetml.pipeline import Plan, document, load
from fleetml.pipeline.values import digest
from fleetml.start import COMMAND, REFUSAL

# What a KFP cluster replaces by the time a recurring run was due, as RFC 3339 in UTC (a Go time layout).
# Some 2.x servers hand it on as it stands (kubeflow/pipelines #12494); the first step then refuses it as a date.
SCHEDULED_TIME = "[[ScheduledTime.2006-01-02T15:04:05Z]]"


@dataclass(frozen=True)
class Schedule:
    """When a pipeline recurs: `cron` in five fields, UTC; `interval_end` is the parameter that gets the due time."""

    cron: str
    interval_end: str = ""


@dataclass(frozen=True)
class Submission:
    """What the cluster made; "" for what was not asked for. `url` is the run's (or the recurring run's) page."""

    pipeline_id: str
    version_id: str
    run_id: str = ""
    recurring_run_id: str = ""
    url: str = ""


def submit(
    ir_path: Path,
    parameters: Mapping[str, Any],
    host: str,
    *,
    project: Path,
    image_overrides: Mapping[str, str] | None = None,
    token: str = "",
    namespace: str = "",
    experiment: str = "fleetml",
    schedule: Schedule | None = None,
    run: bool = True,
) -> Submission:
    """Upload the IR as a version of its pipeline, start a run unless `run` is false, and (re)create its schedule.

    The version is named after the content, so that submitting the same again uploads nothing. A
    recurring run of the same pipeline is replaced. `project` holds images/images.toml. Raises
    InvalidPipeline and InvalidParameter before anything is sent, ConfigurationError for images without
    a digest and for a refused token, Unavailable for a cluster that does not answer.
    """
    plan = load(ir_path)
    bound = plan.bind(parameters)
    ranges.check(plan, bound)
    _refuse_artifacts(plan, bound)
    recurring = _recurring(plan, bound, schedule) if schedule else {}
    _refuse_starts(plan.document)
    spec = pinned(document.read(ir_path), Images(project), image_overrides or {})
    cluster = Cluster(host, token=token, namespace=namespace)
    pipeline_id = cluster.pipeline(plan.name, plan.description)
    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder) / "pipeline.yaml"
        package.write_text("\n---\n".join(map(json.dumps, document.split(spec))))  # JSON is YAML
        version_id = cluster.version(pipeline_id, package, f"{plan.name}-{digest(spec)[:12]}")
    experiment_id = cluster.experiment(experiment)
    run_id = cluster.run(experiment_id, plan.name, pipeline_id, version_id, bound) if run else ""
    recurring_id = ""
    if schedule:
        cron = f"0 {schedule.cron}"  # KFP's cron begins with seconds
        recurring_id = cluster.recurring_run(experiment_id, plan.name, pipeline_id, version_id, recurring, cron)
    page = f"runs/details/{run_id}" if run_id else f"recurringrun/details/{recurring_id}"
    url = f"{cluster.host}/#/{page}" if run_id or recurring_id else ""
    return Submission(pipeline_id, version_id, run_id, recurring_id, url)


def _refuse_artifacts(plan: Plan, bound: Mapping[str, Any]) -> None:
    for name in plan.document["root"].get("inputDefinitions", {}).get("artifacts", {}):
        if name in bound:
            raise UnsupportedConstruct(
                f"a KFP cluster takes parameters for a run, {name!r} of pipeline {plan.name!r} is an artifact; "
                "bring it in with dsl.importer"
            )


def _refuse_starts(spec: Mapping[str, Any]) -> None:
    for name, executor in spec["deploymentSpec"]["executors"].items():
        if tuple(executor.get("container", {}).get("command", ())) == COMMAND:
            raise UnsupportedConstruct(f"deploymentSpec.executors.{name}: {REFUSAL}")


def _recurring(plan: Plan, bound: Mapping[str, Any], schedule: Schedule) -> dict[str, Any]:
    """Return the parameters of a recurring run: the due time where the pipeline takes it."""
    if len(schedule.cron.split()) != 5:
        raise ConfigurationError(f"a schedule must be a cron of five fields, got {schedule.cron!r}; mend triggers.yaml")
    if not schedule.interval_end:
        return dict(bound)
    definition = plan.inputs.get(schedule.interval_end)
    if definition is None or definition.type != "STRING":
        raise ConfigurationError(
            f"data_interval_end must name a text parameter of {plan.name!r}, got {schedule.interval_end!r}; "
            "mend triggers.yaml"
        )
    return {**bound, schedule.interval_end: SCHEDULED_TIME}
