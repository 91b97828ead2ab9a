"""The three kinds of tasks in a DAG of ours: the run's parameters, a step, and the record of how it ended."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from airflow.sdk import Asset, BaseOperator
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException
from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

from fleetml.errors import FleetMLError
from fleetml.events import Event, StepLine
from fleetml.images import Images
from fleetml.pipeline import Plan
from fleetml.records import Run
from fleetml.runners.subprocess import SubprocessRunner
from fleetml.settings import Settings
from fleetml.step import RunContext, StepOutcome
from fleetml.step import run as run_step
from fleetml.triggers import Triggers

PARAMETERS, RECORD = "parameters", "record"


@dataclass(frozen=True)
class Source:
    """What every task of one DAG knows: its plan, where the IR lies, its triggers, the settings."""

    plan: Plan
    path: Path
    triggers: Triggers
    settings: Settings


def task_id(step: str) -> str:
    """Return the Airflow task id of a step: its groups' ids and its own, joined by dots."""
    return step.replace("/", ".")


class ParametersOperator(BaseOperator):
    """Resolves the run's parameters once, shows them, and opens the run's record.

    From lowest to highest: the IR's defaults, triggers.yaml, the end of a scheduled run's data interval, the payload of the
    asset event that started the run, what was given by hand.
    """

    ui_color = "#e8f0fe"

    def __init__(self, *, source: Source, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.source = source

    def execute(self, context: Any) -> dict[str, Any]:
        plan, run = self.source.plan, context["dag_run"]
        given = {name: value for name, value in dict(context["params"]).items() if value is not None}
        for name, value in {**_interval(self.source, run), **_payload(self.source, context)}.items():
            if name not in (run.conf or {}):
                given[name] = value
        try:
            bound = plan.bind(given)
            Run(self.source.settings.home, run.run_id).start(
                {
                    "pipeline": plan.name,
                    "digest": plan.digest,
                    "engine": "airflow",
                    "dag_id": run.dag_id,
                    "parameters": bound,
                    "steps": list(plan.steps),
                },
                self.source.path,
            )
        except FleetMLError as error:
            raise AirflowFailException(str(error)) from None
        for name, value in bound.items():
            self.log.info("%s = %r", name, value)
        return bound


def _interval(source: Source, run: Any) -> dict[str, str]:
    name = source.triggers.data_interval_end
    if not name or str(run.run_type) not in ("scheduled", "backfill") or run.data_interval_end is None:
        return {}
    return {name: run.data_interval_end.strftime("%Y-%m-%dT%H:%M:%SZ")}


def _payload(source: Source, context: Any) -> dict[str, Any]:
    """Return the parameters that the latest event of each triggering asset carries."""
    found: dict[str, Any] = {}
    events = context.get("triggering_asset_events") or {}
    for asset in source.triggers.assets:
        for key, happened in events.items():
            if getattr(key, "uri", key) == asset.uri and happened:
                extra = happened[-1].extra or {}
                found |= {name: extra[key] for name, key in asset.parameters.items() if key in extra}
    return found


class StepOperator(BaseOperator):
    """Runs one step of the plan through `fleetml.step`, like every engine; its XCom is the step's outcome."""

    ui_color = "#ffffff"

    def __init__(self, *, source: Source, step: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.source = source
        self.step = step
        self._cancel = threading.Event()

    def execute(self, context: Any) -> dict[str, Any]:
        plan, run = self.source.plan, context["dag_run"]
        step = plan.steps[self.step]
        bound = context["ti"].xcom_pull(task_ids=PARAMETERS)
        outcomes = _outcomes(context, step.reads or step.upstream)
        around = _context(self.source, run)
        try:
            decision = plan.decide(self.step, bound, outcomes)
            if decision.action != "run":
                state = "skipped" if decision.action == "skip" else decision.action
                Run(self.source.settings.home, run.run_id).note(self.step, state, decision.reason)
                raise AirflowSkipException(decision.reason)
            inputs = plan.resolve(self.step, bound, outcomes, around.names(self.step))
        except FleetMLError as error:
            raise AirflowFailException(str(error)) from None
        runner = SubprocessRunner(passed=self.source.settings.step_variables)
        outcome = run_step(step, inputs, around, runner, self._hear, self._cancel)
        self._emit(context, outcome)
        return self._ended(outcome)

    def on_kill(self) -> None:
        self._cancel.set()

    def _hear(self, event: Event) -> None:
        if isinstance(event, StepLine):
            self.log.info("%s", event.line)

    def _emit(self, context: Any, outcome: StepOutcome) -> None:
        for emit in self.source.triggers.emits:
            if emit.step == self.step and outcome.state == "succeeded":
                payload = outcome.parameters[emit.output]
                context["outlet_events"][Asset(name=emit.asset, uri=emit.asset)].extra = dict(payload)

    def _ended(self, outcome: StepOutcome) -> dict[str, Any]:
        """Return the outcome of a step that succeeded; raise the report of one that did not."""
        if outcome.state == "succeeded":
            figures = ", ".join(f"{name} {value}" for name, value in outcome.figures.items())
            self.log.info("%s in %.1f s%s", "reused" if outcome.cached else "done", outcome.seconds, figures and f": {figures}")
            return outcome.to_json()
        if outcome.failure is None:
            raise AirflowException(f"step '{self.step}' was {outcome.state}")
        report = outcome.failure.report()
        for line in report:
            self.log.error("%s", line)
        # A user's mistake stays one however often it is tried.
        raise (AirflowFailException if outcome.failure.user_error else AirflowException)(report[0])


def _context(source: Source, run: Any) -> RunContext:
    created = run.start_date.timestamp() if run.start_date else run.run_after.timestamp()
    return RunContext(
        run_id=run.run_id,
        pipeline=source.plan.name,
        settings=source.settings,
        images=Images(source.settings.project),
        created=created,
        scheduled=run.data_interval_end.timestamp() if run.data_interval_end else 0.0,
        resume=f"fleetml resume '{run.run_id}'",
    )


def _outcomes(context: Any, steps: tuple[str, ...]) -> dict[str, Mapping[str, Any]]:
    """Return the outcomes of steps: their XCom, or for those that left none their state in Airflow."""
    pulled = {step: context["ti"].xcom_pull(task_ids=task_id(step)) for step in steps}
    missing = [step for step, value in pulled.items() if value is None]
    states = _states(context) if missing else {}
    without = {step: {"state": states.get(task_id(step), "pending"), "parameters": {}, "artifacts": {}} for step in missing}
    return {step: value if value is not None else without[step] for step, value in pulled.items()}


def _states(context: Any) -> dict[str, str]:
    """Return the run's task states by task id, in the words of docs/adr/0001."""
    run = context["dag_run"]
    found = RuntimeTaskInstance.get_task_states(dag_id=run.dag_id, run_ids=[run.run_id]).get(run.run_id, {})
    words = {"success": "succeeded", "removed": "skipped"}
    return {task: words.get(str(state), str(state)) for task, state in found.items()}


class RecordOperator(BaseOperator):
    """Writes how the run ended into its record, whatever happened; a teardown, so it never decides the run's state."""

    ui_color = "#e8f0fe"

    def __init__(self, *, source: Source, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.source = source

    def execute(self, context: Any) -> str:
        records = Run(self.source.settings.home, context["dag_run"].run_id)
        states = _states(context)
        if not records.exists():  # its parameters were refused: there was no run
            return "refused"
        known = records.latest()
        for step in self.source.plan.steps:
            state = states.get(task_id(step), "pending")
            if step not in known and state in ("skipped", "upstream_failed"):
                records.note(step, state, "a step before it failed" if state == "upstream_failed" else "skipped by Airflow")
        bad = [task for task, state in states.items() if state in ("failed", "upstream_failed")]
        records.finish("failed" if bad else "succeeded")
        return "failed" if bad else "succeeded"
