"""A loop whose list only the run makes: a task for its items, its iterations as one mapped task, a task for what they gave.

Airflow maps no loop in a loop and no sub-DAG that branches, so the local engine runs what is inside an iteration.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from airflow.sdk.configuration import conf
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from fleetml.engines.airflow.context import outcomes_of, states_of
from fleetml.engines.airflow.operators import StepOperator, task_runner
from fleetml.engines.local.schedule import Schedule, items_of
from fleetml.events import Event, StepLine
from fleetml.pipeline import Plan
from fleetml.records import Attempt, Run
from fleetml.report import text
from fleetml.step import Failure

ITEMS, ITERATION = "items", "iteration"


class ItemsOperator(StepOperator):
    """Decides whether a loop runs and what it goes over; its XCom are the indices of the items, as the tasks share them."""

    ui_color = "#f3f0fe"

    def _execute(self, context: Any, bound: Mapping[str, Any]) -> Any:
        items = items_of(self._inputs(context, bound))
        unfolded = self.source.plan.unfold({self.step: items})
        self.source.records(context["dag_run"]).unfold(self.step, unfolded.groups[self.step].steps)
        self.log.info("%d iterations", len(items))
        return shares(len(items), conf.getint("core", "max_map_length"))


class IterationOperator(StepOperator):
    """Runs one iteration (of a list longer than Airflow maps: several, one after another), each step as everywhere.

    Its XCom are the outcomes of the steps in it; of a loop in it what that one collects.
    """

    ui_color = "#f3f0fe"

    def __init__(self, *, indices: Sequence[int] = (), **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.indices = indices
        self._worth_a_retry = False

    def _execute(self, context: Any, bound: Mapping[str, Any]) -> Any:
        items = {self.step: items_of(self._inputs(context, bound))}
        plan = self.source.plan.unfold(items)
        before = outcomes_of(context, self.source, _ancestors(self.source.plan.steps, self.step))
        outcomes: dict[str, Any] = {}
        failed = []
        for index in self.indices:
            scope = f"{self.step}/{index}"
            known = {**before, **kept(self.source.records(context["dag_run"]), plan, scope, before)}
            schedule = self._scheduled(context, bound, known, scope, items)
            schedule.run(os.cpu_count() or 1)
            if schedule.plan.collected(scope, bound, schedule.outcomes)["state"] == "succeeded":
                outcomes |= {step: _folded(schedule, step, bound) for step in plan.groups[scope].steps}
            else:
                failed.append(scope)
        if failed:
            kind = AirflowException if self._worth_a_retry else AirflowFailException
            raise kind(f"{', '.join(failed)} did not end well: the steps are told above")
        return outcomes

    def _scheduled(
        self, context: Any, bound: Mapping[str, Any], known: Mapping[str, Any], scope: str, items: Mapping[str, Any]
    ) -> Schedule:
        return Schedule(
            self.source.plan,
            bound,
            dict(known),
            self.source.context(context["dag_run"]),
            task_runner(self.source),
            self._cancel,
            self._tell,
            self._hear,
            scope,
            items,
            self.source.triggers.retries,
        )

    def _hear(self, event: Event) -> None:
        if isinstance(event, StepLine):
            self.log.info("[%s] %s", event.step, event.line)

    def _tell(self, step: str, state: str, attempt: Attempt | None) -> None:
        figures = text.figures(attempt.figures) if attempt else ""
        self.log.info("[%s] %s%s", step, state.replace("_", " "), figures and f": {figures}")
        if attempt and attempt.failure:
            self._report(attempt.failure)
            self._worth_a_retry |= Failure(**attempt.failure).worth_a_retry


class OutcomeOperator(StepOperator):
    """Collects what the iterations gave; its XCom is the loop's outcome. Fails when one of them did not end well."""

    ui_color = "#f3f0fe"

    def _execute(self, context: Any, bound: Mapping[str, Any]) -> dict[str, Any]:
        name = self.source.prefix + f"{self.step}/{ITERATION}".replace("/", ".")
        states = {task: state for task, state in states_of(context).items() if task.startswith(f"{name}_")}
        if bad := [f"{task} {state.replace('_', ' ')}" for task, state in states.items() if state != "succeeded"]:
            raise AirflowFailException(f"loop '{self.step}' failed: {', '.join(bad)}")
        pulled = context["ti"].xcom_pull(task_ids=[name])
        outcomes = {step: outcome for one in pulled if one for step, outcome in one.items()}
        plan = self.source.plan.unfold({self.step: items_of(self._inputs(context, bound))})
        found = plan.collected(self.step, bound, outcomes)
        if found["state"] != "succeeded":
            raise AirflowFailException(f"loop '{self.step}': an iteration left no outcome; clear it")
        return found


def shares(count: int, most: int) -> list[list[int]]:
    """Return the indices below `count` in at most `most` parts; one empty part where there are none.

    Airflow skips a task that is mapped over nothing, and what follows with it; a loop over nothing has succeeded.
    """
    size = -(-count // most) or 1
    return [list(range(start, min(start + size, count))) for start in range(0, count, size)] or [[]]


def kept(records: Run, plan: Plan, scope: str, before: Mapping[str, Any]) -> dict[str, Any]:
    """Return the outcomes of steps of an iteration that ended well, where it did not as a whole and is tried again.

    One that went well is cleared to be done anew; so is all that is older than what comes before the loop.
    """
    latest = records.latest()
    earlier = (attempt for step, attempt in latest.items() if any(f"{step}/".startswith(f"{b}/") for b in before))
    since = max((attempt.finished for attempt in earlier), default=0.0)
    found: dict[str, Any] = {}
    for step in plan.groups[scope].steps:
        attempt = latest.get(step)
        well = attempt and attempt.outcome and attempt.state in ("succeeded", "skipped") and attempt.started >= since
        if attempt and well and all(b in before or b in found for b in plan.steps[step].upstream):
            found[step] = attempt.outcome
    return {} if len(found) == len(plan.groups[scope].steps) else found


def _folded(schedule: Schedule, step: str, bound: Mapping[str, Any]) -> Any:
    """Return the outcome of a step, of a loop in the iteration as a whole."""
    if step in schedule.outcomes:
        return schedule.outcomes[step]
    return schedule.plan.collected(step, bound, schedule.outcomes)


def _ancestors(steps: Mapping[str, Any], step: str) -> tuple[str, ...]:
    """Return all that comes before a step, in the order of the plan: what is in the loop may read any of it."""
    found: set[str] = set()
    ahead = [step]
    while ahead:
        before = [name for name in steps[ahead.pop()].upstream if name not in found]
        found.update(before)
        ahead += before
    return tuple(name for name in steps if name in found)
