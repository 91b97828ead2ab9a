"""A plan as a DAG: TaskGroups mirror sub-DAGs, every step is one task between `parameters` and `record`."""

from __future__ import annotations

from datetime import timedelta
from functools import reduce
from operator import or_
from pathlib import Path
from typing import Any

from airflow.sdk import DAG, Asset, AssetOrTimeSchedule, CronTriggerTimetable, TaskGroup, TriggerRule

from fleetml.engines.airflow.loops import LoopOperator
from fleetml.engines.airflow.operators import PARAMETERS, RECORD, ParametersOperator, RecordOperator, StepOperator
from fleetml.engines.airflow.params import params
from fleetml.engines.airflow.source import Source
from fleetml.errors import UnsupportedConstruct
from fleetml.pipeline import Plan, Step
from fleetml.pipeline.model import Loop
from fleetml.settings import Settings
from fleetml.triggers import Triggers


def dag_id(pipeline: str) -> str:
    """Return the DAG id of a pipeline: its name, as Python would spell it."""
    return pipeline.replace("-", "_")


def build_dag(plan: Plan, path: Path, triggers: Triggers, settings: Settings) -> DAG:
    """Return the DAG of the IR at `path`.

    Raises UnsupportedConstruct for a step named like one of the two tasks that every DAG has.
    """
    if taken := {PARAMETERS, RECORD} & set(plan.steps):
        raise UnsupportedConstruct(
            f"{path}: on Airflow '{taken.pop()}' is a task of every run; name the step otherwise"
        )
    source = Source(plan, path, triggers, settings)
    with DAG(
        dag_id(plan.name),
        dag_display_name=plan.label or plan.name,
        description=plan.description.split("\n")[0] or None,
        doc_md=plan.description or None,
        schedule=_schedule(triggers),
        # No start date: with one, switching the DAG on would at once run what was due last, before anything by hand.
        catchup=False,
        max_active_runs=1,  # the champion is one: two runs would judge against a moving one
        params=params(plan, triggers),
        tags=["fleetml"],
        default_args={"owner": triggers.owner},
    ) as dag:
        _fill(source)
    return dag


def _schedule(triggers: Triggers) -> Any:
    assets = [Asset(name=asset.uri, uri=asset.uri) for asset in triggers.assets]
    cron = None
    if triggers.schedule:  # never for a time that is over when the DAG is switched on; False would go back 10 %
        cron = CronTriggerTimetable(triggers.schedule, timezone="UTC", run_immediately=timedelta(0))
    if not assets:
        return cron
    condition = reduce(or_, assets)
    return AssetOrTimeSchedule(timetable=cron, assets=condition) if cron else condition


def _fill(source: Source) -> None:
    first = ParametersOperator(task_id=PARAMETERS, source=source)
    last = RecordOperator(task_id=RECORD, source=source, trigger_rule=TriggerRule.ALL_DONE)
    groups: dict[str, TaskGroup] = {}
    for name, group in source.plan.groups.items():
        parent = groups[group.group[-1]] if group.group else None
        groups[name] = TaskGroup(group.task, group_display_name=group.label, parent_group=parent)
    tasks = {name: _task(source, step, groups) for name, step in source.plan.steps.items()}
    for name, upstream in edges(source.plan).items():
        ([tasks[before] for before in upstream] or first) >> tasks[name]
    followed = {name for step in source.plan.steps.values() for name in step.upstream}
    [task for name, task in tasks.items() if name not in followed] >> last
    last.as_teardown(on_failure_fail_dagrun=True)


def edges(plan: Plan) -> dict[str, tuple[str, ...]]:
    """Return the upstream of each step without those that another of its upstream steps waits for itself.

    The order is the same, the picture readable. A step that runs after failures keeps all, and none is left out for its
    sake: it may be over, or go well, when what came before it is not or did not.
    """
    needed: dict[str, set[str]] = {}  # what must have gone well before a step can
    drawn: dict[str, tuple[str, ...]] = {}
    for name, step in plan.steps.items():
        strict = [before for before in step.upstream if not plan.steps[before].runs_after_failure]
        implied = set().union(*(needed[before] for before in strict))
        needed[name] = implied | set(step.upstream)
        drawn[name] = tuple(b for b in step.upstream if step.runs_after_failure or b not in implied)
    return drawn


def _task(source: Source, step: Step, groups: dict[str, TaskGroup]) -> StepOperator:
    retries = step.retry.count or source.triggers.retries
    kind = LoopOperator if isinstance(step, Loop) else StepOperator
    return kind(
        task_id=step.task,
        task_display_name=step.label,
        task_group=groups[step.group[-1]] if step.group else None,
        source=source,
        step=step.name,
        # What a skipped step means is for the plan to say, in the operator; a failed one ends here.
        trigger_rule=TriggerRule.ALL_DONE if step.runs_after_failure else TriggerRule.NONE_FAILED,
        outlets=[Asset(name=emit.asset, uri=emit.asset) for emit in source.triggers.emits if emit.step == step.name],
        retries=retries,
        retry_delay=timedelta(seconds=step.retry.delay),
        retry_exponential_backoff=step.retry.factor if step.retry.delay else 0,
        max_retry_delay=timedelta(seconds=step.retry.longest),
    )
