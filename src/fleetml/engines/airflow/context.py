"""What a task reads of its run in Airflow: the parameters, the outcomes of other steps, the states of all tasks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow.sdk.exceptions import AirflowSkipException
from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

from fleetml.engines.airflow.source import Source

PARAMETERS, OUTPUTS, RECORD = "parameters", "outputs", "record"
"""The tasks that every run has beside those of its steps."""

# Airflow's states -> those of docs/adr/0001
_STATES = {"success": "succeeded", "removed": "skipped"}


def bound_of(context: Any, source: Source) -> dict[str, Any] | None:
    """Return the run's parameters, None where there are none. Raises AirflowSkipException in a group that was skipped."""
    first = source.prefix + PARAMETERS
    bound: dict[str, Any] | None = context["ti"].xcom_pull(task_ids=first)
    if bound is None and source.group and states_of(context).get(first) == "skipped":
        raise AirflowSkipException("the group was skipped")
    return bound


def outcomes_of(context: Any, source: Source, steps: tuple[str, ...]) -> dict[str, Mapping[str, Any]]:
    """Return the outcomes of steps: their XCom, or for those that left none their state in Airflow."""
    pulled = {step: context["ti"].xcom_pull(task_ids=source.task_id(step)) for step in steps}
    states = states_of(context) if None in pulled.values() else {}
    for step, value in pulled.items():
        if value is None:
            pulled[step] = {"state": states.get(source.task_id(step), "pending"), "parameters": {}, "artifacts": {}}
    return pulled


def states_of(context: Any) -> dict[str, str]:
    """Return the run's task states by task id, in the words of docs/adr/0001."""
    run = context["dag_run"]
    found = RuntimeTaskInstance.get_task_states(dag_id=run.dag_id, run_ids=[run.run_id]).get(run.run_id, {})
    return {task: _STATES.get(str(state), str(state)) for task, state in found.items()}


def ended(states: set[str]) -> str:
    """Return how a run ended whose steps ended so."""
    if states & {"failed", "upstream_failed"}:
        return "failed"
    return "cancelled" if "cancelled" in states else "succeeded"
