"""A loop as one task: its list is known only in the run, or it limits how many iterations go on at once."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from airflow.sdk.exceptions import AirflowException

from fleetml.engines.airflow.operators import StepOperator, outcomes_of, task_runner
from fleetml.engines.local.schedule import Schedule, items_of
from fleetml.events import Event, StepLine
from fleetml.records import Attempt
from fleetml.report import text


class LoopOperator(StepOperator):
    """Runs the iterations of one loop, each step as everywhere; its XCom is what the loop collects.

    Airflow maps no loop in a loop and keeps no limit of parallelism, so the local engine runs what is inside.
    """

    ui_color = "#f3f0fe"

    def _execute(self, context: Any, bound: Mapping[str, Any]) -> dict[str, Any]:
        run, plan = context["dag_run"], self.source.plan
        items = items_of(self._inputs(context, bound))
        schedule = Schedule(
            plan,
            bound,
            dict(outcomes_of(context, self.source, _ancestors(plan.steps, self.step))),
            self.source.context(run),
            task_runner(self.source),
            self._cancel,
            self._tell,
            self._hear,
            self.step,
            items,
            self.source.triggers.retries,
        )
        schedule.run(os.cpu_count() or 1)
        outcome = schedule.plan.collected(self.step, bound, schedule.outcomes)
        if outcome["state"] != "succeeded":
            raise AirflowException(f"loop '{self.step}' {outcome['state']}: its steps are told above")
        self.log.info("%d iterations done", len(items))
        return outcome

    def _hear(self, event: Event) -> None:
        if isinstance(event, StepLine):
            self.log.info("[%s] %s", event.step, event.line)

    def _tell(self, step: str, state: str, attempt: Attempt | None) -> None:
        figures = text.figures(attempt.figures) if attempt else ""
        self.log.info("[%s] %s%s", step, state.replace("_", " "), figures and f": {figures}")
        if attempt and attempt.failure:
            self._report(attempt.failure)


def _ancestors(steps: Mapping[str, Any], step: str) -> tuple[str, ...]:
    """Return all that comes before a step, in the order of the plan: what is in the loop may read any of it."""
    found: set[str] = set()
    ahead = [step]
    while ahead:
        before = [name for name in steps[ahead.pop()].upstream if name not in found]
        found.update(before)
        ahead += before
    return tuple(name for name in steps if name in found)
