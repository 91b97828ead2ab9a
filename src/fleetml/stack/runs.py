"""A run in the stack's Airflow: start it, follow it, stop it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from fleetml.engines import record
from fleetml.errors import FleetMLError, Unavailable
from fleetml.pipeline import Plan
from fleetml.records import Attempt, Run
from fleetml.settings import Settings
from fleetml.stack import airflow, processes
from fleetml.stack.airflow_client import FINAL, AirflowClient
from fleetml.stack.processes import Service
from fleetml.stack.state import Stack

# Airflow's words -> those of docs/adr/0001
_STATES = {
    "success": "succeeded",
    "removed": "skipped",
    "scheduled": "pending",
    "queued": "pending",
    "deferred": "running",
    "restarting": "running",
    "up_for_retry": "pending",
    "up_for_reschedule": "pending",
}


@dataclass(frozen=True)
class AirflowRun:
    """One run of a plan in Airflow; its records are the files every engine writes."""

    client: AirflowClient
    plan: Plan
    dag_id: str
    records: Run
    service: Service

    @property
    def link(self) -> str:
        return self.client.link(self.dag_id, self.records.run_id)

    def follow(self) -> Iterator[tuple[str, str, Attempt | None]]:
        """Yield (step, state, its latest record) at each change, until the run is over."""
        steps = {step.replace("/", "."): step for step in self.plan.steps}  # Airflow's task ids
        steps |= {f"{name.replace('/', '.')}.outcome": name for name in self.plan.steps}  # of loops
        for task, state in self.client.follow(self.dag_id, self.records.run_id, self.service.alive):
            if step := steps.get(task):
                yield step, _STATES.get(state, state), self.latest(step)

    def latest(self, step: str) -> Attempt | None:
        attempts = self.records.attempts(step)
        return attempts[-1] if attempts else None

    def state(self) -> str:
        """Return succeeded, failed, or running."""
        state = self.client.state(self.dag_id, self.records.run_id)
        return _STATES.get(state, state)

    def cancel(self, timeout_seconds: float = 60.0) -> None:
        """Stop the run and its steps; return when no step runs any more.

        Airflow calls a task failed at once, its process learns of it with the next heartbeat: the records are what
        tells that all is over.
        """
        _fail(self.client, self.dag_id, self.records.run_id, self.records, timeout_seconds)


def connect(stack: Stack) -> AirflowClient:
    """Return a client with the stack's login. Raises ConfigurationError when the login cannot be read."""
    service = stack.services["airflow"]
    return AirflowClient(service.address, service.details["login"], airflow.password(service))


def start(stack: Stack, settings: Settings, plan: Plan, parameters: Mapping[str, Any]) -> AirflowRun:
    """Start a run of a pipeline of this project in the stack's Airflow.

    Raises FleetMLError when Airflow cannot load the pipeline, InvalidParameter when it refuses a parameter.
    """
    client = connect(stack)
    dag_id = plan.name.replace("-", "_")
    client.wait_for_dag(dag_id)
    try:
        run_id = client.trigger(dag_id, parameters)
    except KeyError as error:
        raise FleetMLError(
            f"Airflow's answer to a trigger of {dag_id} lacks {error}; see {stack.services['airflow'].log}"
        ) from None
    return AirflowRun(client, plan, dag_id, Run(settings.home, run_id), stack.services["airflow"])


def stop(records: Run, stack: Stack | None, timeout_seconds: float = 60.0) -> str:
    """Mark a run of the stack's Airflow failed, wait until no step of it runs any more, and return its state.

    Raises Unavailable when that Airflow does not run, or does not run it.
    """
    document = records.read()
    if stack is None or not running(document, stack):
        raise Unavailable(
            f"run {records.run_id} is Airflow's (DAG {document['dag_id']}), and no Airflow of this stack runs it; "
            "mark it failed in the one that does, or start the stack: fleetml up"
        )
    client, dag_id, run_id = connect(stack), document["dag_id"], document["dag_run_id"]
    _fail(client, dag_id, run_id, records, timeout_seconds)
    processes.wait_until(
        lambda: client.state(dag_id, run_id) in FINAL, timeout_seconds
    )  # its last task is still to end
    return records.state()


def _fail(client: AirflowClient, dag_id: str, dag_run_id: str, records: Run, timeout_seconds: float) -> None:
    client.fail(dag_id, dag_run_id)
    processes.wait_until(lambda: _over(records), timeout_seconds)
    if records.exists() and records.read()["state"] == "running":
        record.end(records, "cancelled")


def _over(records: Run) -> bool:
    if not records.exists():
        return True
    steps = (attempt.state for attempt in records.latest().values())
    return records.read()["state"] != "running" and "running" not in steps


def running(document: Mapping[str, Any], stack: Stack | None) -> bool:
    """Say whether the stack's Airflow still runs what a run's record tells of. Raises FleetMLError as the client does."""
    if document["engine"] != "airflow" or document["state"] != "running":
        return False
    if stack is None or "airflow" not in stack.services or "airflow" in stack.dead:
        return False  # nobody goes on with it
    return (document["dag_id"], document["dag_run_id"]) in connect(stack).active()
