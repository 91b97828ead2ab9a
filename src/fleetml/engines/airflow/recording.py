"""The record of how a run in Airflow ended: the last task of each."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowFailException, AirflowRescheduleException, AirflowSkipException

from fleetml.cost.estimate import figures as costs
from fleetml.engines import record
from fleetml.engines.airflow.context import PARAMETERS, bound_of, ended, outcomes_of, states_of
from fleetml.engines.airflow.source import Source
from fleetml.engines.start import is_start
from fleetml.pipeline.sources import producers
from fleetml.records import Run
from fleetml.redaction import without_passwords

_PATIENCE = 10  # s for steps that were told to end
_LATER = timedelta(seconds=3)  # until it looks again whether all steps are over


class RecordOperator(BaseOperator):
    """Writes how the run ended into its record, and fails when it did not end well; its XCom are the pipeline's outputs.

    Airflow judges a run by its last tasks alone; this is the last of every run, a teardown: that runs whatever happened,
    also when the run is marked failed. In a group another one comes before it, for what follows the group to wait for.
    Where it has an outlet, that asset has an event with the outputs.
    """

    ui_color = "#e8f0fe"

    def __init__(self, *, source: Source, **kwargs: Any) -> None:
        super().__init__(**kwargs, multiple_outputs=True)
        self.source = source

    def execute(self, context: Any) -> dict[str, Any]:
        records, states = self.source.records(context["dag_run"]), states_of(context)
        first = states.get(self.source.prefix + PARAMETERS)
        if first == "skipped" and self.source.group:
            raise AirflowSkipException("the group was skipped")
        self._await_steps(states)
        if first != "succeeded" or not records.exists():
            raise AirflowFailException("no step ran: the run's parameters were refused, or it was ended before")
        _await_attempts(records, {name for name, step in self.source.plan.steps.items() if is_start(step)})
        known = {step: attempt.state for step, attempt in records.latest().items()}
        for step in self.source.plan.steps:
            if any(name.startswith(f"{step}/") for name in known):
                continue  # a loop: the steps of its iterations tell how it went
            state, reason = _UNSEEN.get(states.get(self.source.task_id(step), "pending"), ("", ""))
            if state and known.get(step) not in ("failed", "upstream_failed", "cancelled", "skipped"):
                known[step] = records.note(step, state, reason).state
        known |= self._unseen_iterations(records, states)
        how = ended(set(known.values()))
        record.end(records, how)
        self._tell_cost(context, records)
        if how != "succeeded":
            bad = ", ".join(f"{step} {state.replace('_', ' ')}" for step, state in known.items() if state in _BAD)
            raise AirflowFailException(f"run {records.run_id} {how}: {bad}")
        return self._publish(context)

    def _tell_cost(self, context: Any, records: Run) -> None:
        """Show what the run cost, in the log and among the XComs."""
        cost = records.read().get("cost") or {}
        self.log.info("cost of the run: %s", costs(cost))
        context["ti"].xcom_push(key="cost", value=cost)

    def _unseen_iterations(self, records: Run, states: Mapping[str, str]) -> dict[str, str]:
        """Note what became of steps of loops whose iteration was ended before they began; return their states."""
        latest, plan = records.latest(), self.source.plan
        noted: dict[str, str] = {}
        for step in records.read()["steps"]:
            loop = next((name for name in plan.steps if step.startswith(f"{name}/")), "")
            if loop and step not in latest:
                mapped = f"{self.source.prefix}{loop}/iteration_".replace("/", ".")
                failed = any(state == "failed" for task, state in states.items() if task.startswith(mapped))
                noted[step] = records.note(step, *_UNSEEN["failed" if failed else "skipped"]).state
        return noted

    def _publish(self, context: Any) -> dict[str, Any]:
        plan = self.source.plan
        outcomes = outcomes_of(context, self.source, tuple(producers(plan.outputs.values())))
        found = plan.published(bound_of(context, self.source) or {}, outcomes)
        for name, value in found.items():
            self.log.info("%s", without_passwords(f"{name} = {value!r}"))
        self.source.records(context["dag_run"]).update(outputs=found)
        for asset in self.outlets:
            context["outlet_events"][asset].extra = found
        return found

    def _await_steps(self, states: Mapping[str, str]) -> None:
        """Come again later while steps are not over: the last ones may have failed early, when others still run."""
        waiting = [step for step in self.source.plan.steps if states.get(self.source.task_id(step)) not in _OVER]
        if waiting:
            self.log.info("waiting for %s", ", ".join(waiting))
            raise AirflowRescheduleException(datetime.now(UTC) + _LATER)


_BAD = ("failed", "upstream_failed", "cancelled")
_OVER = {"succeeded", "failed", "upstream_failed", "skipped"}

# States of tasks whose operator never came to write them -> what the record says, and why.
_UNSEEN = {
    "upstream_failed": ("upstream_failed", "a step before it failed"),
    "failed": ("failed", "its task was killed, or marked failed in Airflow"),
    "skipped": ("cancelled", "the run was ended, or the task marked skipped, in Airflow"),
}


def _await_attempts(records: Run, without: set[str]) -> None:
    """Wait for steps that were told to end: a task is failed at once, its process learns of it a little later.

    Those in `without` have no process while they wait.
    """
    for _ in range(_PATIENCE):
        latest = records.latest()
        if not any(attempt.state == "running" for step, attempt in latest.items() if step not in without):
            return
        time.sleep(1)
