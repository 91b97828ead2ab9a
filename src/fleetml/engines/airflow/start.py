"""A step that starts another pipeline, on Airflow: a run of that pipeline's DAG."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk.exceptions import AirflowFailException, AirflowRescheduleException, AirflowRuntimeError
from airflow.sdk.execution_time import task_runner
from airflow.sdk.execution_time.comms import TriggerDagRun
from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

from fleetml.engines.airflow.context import RECORD
from fleetml.engines.airflow.operators import StepOperator
from fleetml.engines.airflow.source import PARENT, dag_id, record_id
from fleetml.engines.local.start import record_end
from fleetml.engines.start import Start, asked
from fleetml.errors import InvalidPipeline
from fleetml.records import Attempt, Run
from fleetml.step import Failure, StepOutcome

_LATER = timedelta(seconds=3)  # until it looks again whether the run is over


class StartOperator(StepOperator):
    """Starts a run of another pipeline's DAG. While it waits it holds no slot that the other run may need."""

    ui_color = "#fef7e0"

    def _execute(self, context: Any, bound: Mapping[str, Any]) -> dict[str, Any]:
        records = self.source.records(context["dag_run"])
        inputs = self._inputs(context, bound)
        try:
            step, tried = self.source.plan.steps[self.step], context["ti"].try_number
            wanted = asked(step, inputs, records, self.source.plan.name, tried)
        except InvalidPipeline as error:
            records.note(self.step, "failed", str(error))
            raise AirflowFailException(str(error)) from None
        dag = dag_id(wanted.pipeline)
        wanted = replace(wanted, run_id=record_id(dag, wanted.run_id))
        attempt = self._begun(records, wanted, inputs.parameters)
        state = self._state(dag, wanted)
        if wanted.wait and state not in ("success", "failed"):
            raise AirflowRescheduleException(datetime.now(UTC) + _LATER)
        outcome = StepOutcome("failed" if state == "failed" else "succeeded", attempt=attempt.number)
        if outcome.state == "failed":
            outcome = replace(outcome, failure=Failure(self.step, "", f"{wanted.told} failed"))
        elif wanted.wait:
            found = context["ti"].xcom_pull(task_ids=RECORD, dag_id=dag, run_id=wanted.run_id) or {}
            outcome = replace(outcome, parameters=wanted.gives("succeeded", found))
        else:
            outcome = replace(outcome, parameters=wanted.gives("running", {}))
        record_end(records, attempt, outcome)
        if outcome.failure:
            raise self._error(outcome)
        self.log.info("%s: %s", wanted.told, outcome.parameters["state"])
        return outcome.to_json()

    def _begun(self, records: Run, wanted: Start, inputs: Mapping[str, Any]) -> Attempt:
        """Return the record of this attempt, which may have begun before it waited."""
        known = records.attempts(self.step)
        if known and known[-1].state == "running" and known[-1].reason == wanted.told:
            return known[-1]
        number, _ = records.begin(self.step)
        attempt = Attempt(self.step, number, "running", time.time(), reason=wanted.told, inputs=dict(inputs))
        records.write(attempt)
        return attempt

    def _state(self, dag: str, wanted: Start) -> str:
        """Start the run if it is not there yet; return its state in Airflow's words."""
        conf = {**wanted.parameters, PARENT: dict(wanted.parent)}
        try:  # one that is there already stays as it is
            task_runner.SUPERVISOR_COMMS.send(TriggerDagRun(dag_id=dag, run_id=wanted.run_id, conf=conf))
            return RuntimeTaskInstance.get_dagrun_state(dag, wanted.run_id)
        except AirflowRuntimeError as error:
            message = f"step '{self.step}' starts '{wanted.pipeline}', Airflow refuses its DAG '{dag}': {error}"
            raise AirflowFailException(message) from None
