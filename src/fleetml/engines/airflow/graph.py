"""A plan as tasks: task groups mirror sub-DAGs, every step is one task between `parameters` and the last."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from airflow.sdk import Asset, BaseOperator, TaskGroup, TriggerRule

from fleetml.engines.airflow.context import OUTPUTS, PARAMETERS, RECORD
from fleetml.engines.airflow.loops import ITEMS, ITERATION, ItemsOperator, IterationOperator, OutcomeOperator
from fleetml.engines.airflow.operators import ParametersOperator, ReportLink, StepOperator
from fleetml.engines.airflow.source import OUTCOME, Source
from fleetml.engines.airflow.start import StartOperator
from fleetml.engines.start import is_start
from fleetml.errors import UnsupportedConstruct
from fleetml.pipeline import Plan, Step
from fleetml.pipeline.model import Loop


def fill(source: Source, root: TaskGroup, last: BaseOperator, given: Mapping[str, Any] | None = None) -> None:
    """Put the tasks of a pipeline before `last`, all of them in `root`; `given` are the parameters of a group.

    Raises UnsupportedConstruct for a step named like a task that every run has.
    """
    own = {PARAMETERS, RECORD, OUTPUTS} if source.group else {PARAMETERS, RECORD}
    if taken := own & set(source.plan.steps):
        raise UnsupportedConstruct(
            f"{source.path}: on Airflow '{taken.pop()}' is a task of every run; name the step otherwise"
        )
    first = ParametersOperator(task_id=PARAMETERS, source=source, given=given, dag=root.dag, task_group=root)
    groups: dict[str, TaskGroup] = {}
    for name, group in source.plan.groups.items():
        parent = groups[group.group[-1]] if group.group else root
        groups[name] = TaskGroup(group.task, group_display_name=group.label, parent_group=parent, dag=root.dag)
    tasks = {
        name: _task(source, step, groups[step.group[-1]] if step.group else root)
        for name, step in source.plan.steps.items()
    }
    for name, upstream in edges(source.plan).items():
        ([tasks[before].last for before in upstream] or first) >> tasks[name].first
    followed = {name for step in source.plan.steps.values() for name in step.upstream}
    [task.last for name, task in tasks.items() if name not in followed] >> last


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


@dataclass(frozen=True)
class _Tasks:
    """The tasks of one step: what comes before it precedes `first`, what comes after it follows `last`."""

    first: BaseOperator
    last: BaseOperator


def _task(source: Source, step: Step, group: TaskGroup) -> _Tasks:
    if isinstance(step, Loop):
        return _loop(source, step, group)
    task = (StartOperator if is_start(step) else StepOperator)(
        task_id=step.task,
        task_display_name=step.label,
        outlets=[Asset(name=emit.asset, uri=emit.asset) for emit in source.triggers.emits if emit.step == step.name],
        trigger_rule=_rule(step),
        **_common(source, step, group),
        **_retries(source, step),
    )
    if "registry" in step.input_parameters and isinstance(task, StepOperator):
        task.operator_extra_links = (ReportLink(),)
    return _Tasks(task, task)


def _loop(source: Source, loop: Loop, parent: TaskGroup) -> _Tasks:
    """Return the tasks of a loop whose items only the run makes: the items, its iterations (mapped), what they gave."""
    group = TaskGroup(loop.task, group_display_name=loop.label, parent_group=parent, dag=parent.dag)
    common = _common(source, loop, group)
    items = ItemsOperator(task_id=ITEMS, trigger_rule=_rule(loop), **common)
    iteration = IterationOperator.partial(
        task_id=ITERATION,
        map_index_template="{{ task.indices | join(', ') }}",
        max_active_tis_per_dagrun=loop.parallelism or None,
        **common,  # retries are those of the steps in it
    ).expand(indices=items.output)
    # Once all are over, whether they went well or not; not at all where the loop did not begin.
    rule = TriggerRule.ALL_DONE_MIN_ONE_SUCCESS
    outcome = OutcomeOperator(task_id=OUTCOME, trigger_rule=rule, retries=0, **common)
    [items, iteration] >> outcome
    return _Tasks(items, outcome)


def _rule(step: Step) -> TriggerRule:
    """What a skipped step means is for the plan to say, in the operator; a failed one ends here."""
    return TriggerRule.ALL_DONE if step.runs_after_failure else TriggerRule.NONE_FAILED


def _common(source: Source, step: Step, group: TaskGroup) -> dict[str, Any]:
    return {"task_group": group, "dag": group.dag, "source": source, "step": step.name}


def _retries(source: Source, step: Step) -> dict[str, Any]:
    """Return what the pipeline, or its triggers.yaml, says of retries; nothing leaves it to the DAG's ``default_args``."""
    retries = step.retry.count or source.triggers.retries
    if not retries:
        return {}
    return {
        "retries": retries,
        "retry_delay": timedelta(seconds=step.retry.delay),
        "retry_exponential_backoff": step.retry.factor if step.retry.delay else 0,
        "max_retry_delay": timedelta(seconds=step.retry.longest),
    }
