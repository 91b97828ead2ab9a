"""A pipeline as a DAG of its own, or as a task group inside a DAG that a team wrote by hand."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from functools import reduce
from operator import or_
from pathlib import Path
from typing import Any

from airflow.sdk import DAG, Asset, AssetOrTimeSchedule, CronTriggerTimetable, TaskGroup, TriggerRule, XComArg
from airflow.sdk.definitions.taskgroup import MappedTaskGroup

from fleetml.engines.airflow.context import OUTPUTS, RECORD
from fleetml.engines.airflow.graph import fill
from fleetml.engines.airflow.params import params
from fleetml.engines.airflow.recording import RecordOperator
from fleetml.engines.airflow.source import Source, opened
from fleetml.engines.airflow.source import dag_id as id_of
from fleetml.errors import InvalidParameter, UnsupportedConstruct
from fleetml.settings import Settings
from fleetml.triggers import Triggers


class PipelineDag(DAG):
    """A DAG that is one pipeline: `parameters`, its steps, `record`, whose XCom are the pipeline's outputs.

    `pipeline` is an IR, or a folder with a pipeline.yaml or triggers.yaml; a relative path is seen from the calling file.
    `parameters` go before the defaults of its triggers.yaml; a run's conf goes before both. All other `arguments` are those of
    a DAG, and go before what triggers.yaml says. Raises FleetMLError for what is missing or cannot run.
    """

    def __init__(
        self,
        dag_id: str | None = None,
        *,
        pipeline: str | Path | Source,
        parameters: Mapping[str, Any] | None = None,
        settings: Settings | None = None,
        **arguments: Any,
    ) -> None:
        caller = Path(sys._getframe(1).f_code.co_filename)
        source = pipeline if isinstance(pipeline, Source) else opened(pipeline, caller.parent, settings)
        source = source.with_defaults(parameters or {}, f"{caller}: {source.plan.name}")
        usual = _arguments(source)
        default_args = {**usual["default_args"], **(arguments.pop("default_args", None) or {})}
        asked = arguments.pop("params", None) or params(source.plan, source.triggers)
        super().__init__(dag_id or id_of(source.plan.name), **{**usual, **arguments, "default_args": default_args})
        self.fileloc = str(caller)
        last = RecordOperator(task_id=RECORD, source=source, dag=self, outlets=[_asset(source)])
        fill(source, self.task_group, last)
        last.as_teardown(on_failure_fail_dagrun=True)
        # Only now: a task takes a deep copy of those its DAG has, half the time of building it, and has them in its context anyway.
        self.params = asked


def _arguments(source: Source) -> dict[str, Any]:
    """Return what a DAG is given where nobody says otherwise."""
    plan, triggers = source.plan, source.triggers
    return {
        "dag_display_name": plan.label or plan.name,
        "description": plan.description.split("\n")[0] or None,
        "doc_md": plan.description or None,
        "schedule": _schedule(triggers),
        # No start date: with one, switching the DAG on would at once run what was due last, before anything by hand.
        "catchup": False,
        "max_active_runs": 1,  # the champion is one: two runs would judge against a moving one
        "tags": ["fleetml"],
        "default_args": {"owner": triggers.owner},
    }


def _schedule(triggers: Triggers) -> Any:
    assets = [Asset(name=asset.uri, uri=asset.uri) for asset in triggers.assets]
    cron = None
    if triggers.schedule:  # never for a time that is over when the DAG is switched on; False would go back 10 %
        cron = CronTriggerTimetable(triggers.schedule, timezone="UTC", run_immediately=timedelta(0))
    if not assets:
        return cron
    condition = reduce(or_, assets)
    return AssetOrTimeSchedule(timetable=cron, assets=condition) if cron else condition


def _asset(source: Source) -> Asset:
    return Asset(name=source.asset, uri=source.asset)


class PipelineTaskGroup(TaskGroup):
    """A pipeline among a team's own operators: ``before >> group >> after``, several of them in one DAG.

    `pipeline` as in `PipelineDag`, a relative path is seen from the DAG's file. `parameters` hold literals, templates and
    outputs of other tasks (XComArg); they go before the defaults of its triggers.yaml, whose schedule and assets are
    those of no group. Retries, pools and queues come from the DAG's, or the group's, ``default_args``, where the
    pipeline states none. `arguments` are those of a TaskGroup.

    Its task `outputs` ends it: it succeeds when the pipeline did, is skipped when the group was. Raises FleetMLError for what
    is missing or cannot run.
    """

    def __init__(
        self,
        group_id: str,
        pipeline: str | Path,
        parameters: Mapping[str, Any] | None = None,
        settings: Settings | None = None,
        **arguments: Any,
    ) -> None:
        super().__init__(group_id, **arguments)
        _refuse_mapping(self)
        source = opened(pipeline, Path(self.dag.folder), settings)
        triggers = replace(source.triggers, schedule=None, assets=(), data_interval_end="")
        source = replace(source, triggers=triggers, group=self.group_id, prefix=self.child_id(""))
        source, late = _given(source, parameters or {})
        self.tooltip = self.tooltip or source.plan.description.split("\n")[0] or source.plan.label
        # A teardown is left out where a group is put before a task, so what follows waits for `outputs`; but only a
        # teardown also runs, and fails the DAG's run, when that run is marked failed.
        last = RecordOperator(
            task_id=OUTPUTS,
            source=source,
            dag=self.dag,
            task_group=self,
            outlets=[_asset(source)],
            trigger_rule=TriggerRule.ALL_DONE,
        )
        fill(source, self, last, late)
        record = RecordOperator(task_id=RECORD, source=source, dag=self.dag, task_group=self)
        last >> record.as_teardown(on_failure_fail_dagrun=True)
        self._outputs = last

    @property
    def output(self) -> XComArg:
        """The pipeline's outputs, for other tasks: ``group.output["name"]``; an artifact is its uri and digest."""
        return XComArg(self._outputs)


def _given(source: Source, parameters: Mapping[str, Any]) -> tuple[Source, dict[str, Any]]:
    """Return the group's pipeline with what is known before a run as its defaults, and what only a run will tell.

    Raises FleetMLError for a parameter that is unknown, missing, or of the wrong type.
    """
    late = {name: value for name, value in parameters.items() if _is_late(value)}
    for name in late:
        source.plan.parameter(name)
    literals = {name: value for name, value in parameters.items() if name not in late and value is not None}
    source = source.with_defaults(literals, f"group '{source.group}'")
    for name, definition in source.plan.inputs.items():
        if definition.required and name not in late and name not in source.triggers.defaults:
            raise InvalidParameter(
                f"group '{source.group}': {source.plan.name} needs its parameter '{name}', which has no default; "
                "give it in `parameters`"
            )
    return source, late


def _is_late(value: Any) -> bool:
    """Say whether a parameter is a template, or holds the output of a task."""
    return any(True for _ in XComArg.iter_xcom_references(value)) or "{{" in str(value) or "{%" in str(value)


def _refuse_mapping(group: TaskGroup) -> None:
    above: TaskGroup | None = group
    while above is not None:
        if isinstance(above, MappedTaskGroup):
            raise UnsupportedConstruct(
                f"group '{group.group_id}': a pipeline cannot be mapped over as a task group, its runs would have one "
                "record; loop in the pipeline (dsl.ParallelFor), or map a DAG of its own"
            )
        above = above.parent_group
