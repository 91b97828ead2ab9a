"""What the tasks of a DAG of ours do: the first resolves the run's parameters, each of the others runs a step.

The last, which records how the run ended, is in `fleetml.engines.airflow.recording`.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from airflow.sdk import Asset, BaseOperator, BaseOperatorLink
from airflow.sdk.exceptions import (
    AirflowException,
    AirflowFailException,
    AirflowSkipException,
)

from fleetml import lineage, ranges, tracing
from fleetml.cost.estimate import figures as costs
from fleetml.engines import means, record
from fleetml.engines.airflow.context import PARAMETERS, bound_of, ended, outcomes_of
from fleetml.engines.airflow.secrets import from_airflow
from fleetml.engines.airflow.source import PARENT, Source
from fleetml.engines.start import still_wanted
from fleetml.errors import FleetMLError, Unavailable
from fleetml.events import Event, StepLine
from fleetml.pipeline import Inputs
from fleetml.records import Run
from fleetml.redaction import without_passwords
from fleetml.runners import Runner, choice
from fleetml.step import Failure, StepOutcome
from fleetml.step import run as run_step

_AGAIN = 3.0  # s between two looks at the step that started the run
_GRACE = 3.0  # s a step has to end after a kill; Airflow kills the task itself 5 s after it asked


class ParametersOperator(BaseOperator):
    """Resolves the run's parameters once, shows them, and opens the run's record; its XCom are the parameters.

    From lowest to highest: the IR's defaults, triggers.yaml, the end of a scheduled run's data interval, the payload of
    the asset event that started the run, what was given by hand. In a group, where the DAG's run has parameters of its
    own: the IR's defaults, triggers.yaml, what the group was `given`.
    """

    ui_color = "#e8f0fe"
    template_fields = ("given",)

    def __init__(self, *, source: Source, given: Mapping[str, Any] | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.source = source
        self.given = given

    def execute(self, context: Any) -> dict[str, Any]:
        run = context["dag_run"]
        try:
            bound = self.source.plan.bind(self._of_the_group() if self.source.group else self._of_the_run(context))
            ranges.check(self.source.plan, bound)
            self._require_means(bound)
            self.source.start(run, bound)
        except Unavailable as error:
            raise AirflowException(str(error)) from None
        except FleetMLError as error:
            raise AirflowFailException(str(error)) from None
        for name, value in bound.items():
            self.log.info("%s", without_passwords(f"{name} = {value!r}"))
        return bound

    def _require_means(self, bound: Mapping[str, Any]) -> None:
        """Refuse a run that lacks an image, a GPU or a secret before its first step. Raises FleetMLError."""
        settings, runner = self.source.settings, task_runner(self.source)
        means.require(self.source.plan, bound, settings, runner, choice.images(settings, runner), from_airflow)

    def _of_the_group(self) -> dict[str, Any]:
        plan, found = self.source.plan, dict(self.source.triggers.defaults)
        for name, value in (self.given or {}).items():
            if value is not None:  # a template makes texts of numbers and lists
                text = isinstance(value, str) and plan.inputs[name].type != "STRING"
                found[name] = plan.parse({name: value})[name] if text else value
        return found

    def _of_the_run(self, context: Any) -> dict[str, Any]:
        run = context["dag_run"]
        given = {name: value for name, value in dict(context["params"]).items() if value is not None}
        # The defaults once more: those of the params are of the time when Airflow last took in the DAG.
        fresh = {**self.source.triggers.defaults, **self._interval(run), **self._payload(context)}
        for name, value in fresh.items():
            if name not in (run.conf or {}):
                given[name] = value
        for name in run.conf or {}:  # what is no parameter passes Airflow's own check
            given.setdefault(name, run.conf[name])
        given.pop(PARENT, None)
        return given

    def _interval(self, run: Any) -> dict[str, str]:
        name = self.source.triggers.data_interval_end
        if not name or run.run_type not in ("scheduled", "backfill") or run.data_interval_end is None:
            return {}
        return {name: run.data_interval_end.strftime("%Y-%m-%dT%H:%M:%SZ")}

    def _payload(self, context: Any) -> dict[str, Any]:
        """Return the parameters that the latest event of each triggering asset carries."""
        found: dict[str, Any] = {}
        events = context.get("triggering_asset_events") or {}
        for trigger in self.source.triggers.assets:
            asset = Asset(name=trigger.uri, uri=trigger.uri)
            happened = [event for key, list_ in events.items() if key.uri == asset.uri for event in list_]
            for event in sorted(happened, key=lambda event: event.timestamp):
                extra = event.extra or {}
                told = without_passwords(repr(extra))
                self.log.info("started by an event of %s at %s: %s", asset.uri, event.timestamp, told)
                found |= {name: extra[key] for name, key in trigger.parameters.items() if key in extra}
        return found


class ReportLink(BaseOperatorLink):
    """A button on the task's page: where the registry shows what the step told it."""

    name = "MLflow"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:
        """Return what the step said when it ran in this process; "": nothing."""
        return str(operator.link)


class StepOperator(BaseOperator):
    """Runs one step of the plan through `fleetml.step`, like every engine; its XCom is the step's outcome."""

    ui_color = "#ffffff"

    def __init__(self, *, source: Source, step: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.source = source
        self.step = step
        self.link = ""
        self._cancel = threading.Event()

    def execute(self, context: Any) -> dict[str, Any]:
        bound = bound_of(context, self.source)
        if bound is None:
            raise AirflowFailException(f"step '{self.step}' needs the run's parameters, task '{PARAMETERS}' failed")
        records = self.source.records(context["dag_run"])
        with _reopened(records), _ended_with_parent(records, self._cancel):
            return self._execute(context, bound)

    def _execute(self, context: Any, bound: Mapping[str, Any]) -> dict[str, Any]:
        run = context["dag_run"]
        inputs = self._inputs(context, bound)
        step = self.source.plan.steps[self.step]
        outcome = run_step(step, inputs, self.source.context(run), task_runner(self.source), self._hear, self._cancel)
        self._tell_cost(context, outcome)
        if outcome.state != "succeeded":
            raise self._error(outcome)
        self._emit(context, outcome)
        self.link = _link(outcome)
        figures = ", ".join(f"{name} {value}" for name, value in outcome.figures.items())
        done = "reused" if outcome.cached else "done"
        self.log.info("%s in %.1f s%s", done, outcome.seconds, figures and f": {figures}")
        return outcome.to_json()

    def _tell_cost(self, context: Any, outcome: StepOutcome) -> None:
        """Show what the step cost in its log and among its XComs; what was reused cost nothing."""
        if not outcome.cached:
            self.log.info("cost: %s", costs(outcome.cost))
            context["ti"].xcom_push(key="cost", value=dict(outcome.cost))

    def on_kill(self) -> None:
        """Stop the step's process and all it started; `execute` returns then."""
        self._cancel.set()

    def _inputs(self, context: Any, bound: Mapping[str, Any]) -> Inputs:
        """Return the step's inputs. Raises AirflowSkipException where the plan says skip, AirflowFailException."""
        plan, run = self.source.plan, context["dag_run"]
        outcomes = outcomes_of(context, self.source, plan.steps[self.step].reads)
        try:
            names = self.source.context(run).names(self.step)
            decision = plan.decide(self.step, bound, outcomes)
            if decision.action == "run":
                return plan.resolve(self.step, bound, outcomes, names)
        except FleetMLError as error:
            self.source.records(run).note(self.step, "failed", str(error))
            raise AirflowFailException(str(error)) from None
        if decision.action == "skip":
            self.source.records(run).note(self.step, "skipped", decision.reason)
            raise AirflowSkipException(decision.reason)
        self.source.records(run).note(self.step, decision.action, decision.reason)
        raise AirflowFailException(f"step '{self.step}' cannot run: {decision.reason}")

    def _hear(self, event: Event) -> None:
        if isinstance(event, StepLine):
            self.log.info("%s", event.line)

    def _emit(self, context: Any, outcome: StepOutcome) -> None:
        for emit in self.source.triggers.emits:
            if emit.step == self.step:
                asset = Asset(name=emit.asset, uri=emit.asset)
                context["outlet_events"][asset].extra = dict(outcome.parameters[emit.output])

    def _error(self, outcome: StepOutcome) -> AirflowException:
        """Show the report of a step that did not succeed; a user's mistake stays one however often it is tried."""
        if outcome.failure is None:
            return AirflowException(f"step '{self.step}' was {outcome.state}")
        report = self._report(asdict(outcome.failure))
        return (AirflowException if outcome.failure.worth_a_retry else AirflowFailException)(report[0])

    def _report(self, failure: Mapping[str, Any]) -> list[str]:
        """Show why a step failed; return the lines."""
        report = Failure(**failure).report()
        for line in report:
            self.log.error("%s", line)
        return report


def _link(outcome: StepOutcome) -> str:
    """Return the first address among what a step's metrics say."""
    items = [item for items in outcome.artifacts.values() for item in items if item["type"] == "system.Metrics"]
    values = [str(value) for item in items for value in item["metadata"].values()]
    return next((value for value in values if value.startswith(("http://", "https://"))), "")


def task_runner(source: Source) -> Runner:
    """Return the runner of steps in a task, which ends them sooner than Airflow ends the task."""
    return choice.choose(source.settings, _GRACE)


@contextlib.contextmanager
def _reopened(records: Run) -> Iterator[None]:
    """A step that was cleared after its run had ended makes it a running one again, and tells how it ends then.

    For the record's own task need not be cleared with it. Of several such steps the last one tells.
    """
    again = records.reopen()
    try:
        yield
    finally:
        states = {attempt.state for attempt in records.latest().values()} if again else {"running"}
        if "running" not in states:
            record.end(records, ended(states))
        lineage.flush()  # a task's process ends without a word
        tracing.flush()


@contextlib.contextmanager
def _ended_with_parent(records: Run, cancel: threading.Event) -> Iterator[None]:
    """Set `cancel` when the step of another run that started this one, and waits for it, is ended.

    Airflow lets no task end the run of another DAG, so the started run looks itself. Raises AirflowFailException.
    """
    if "parent" not in records.read():
        yield
        return
    if not still_wanted(records):
        raise AirflowFailException("the step that started this run, and waited for it, was ended")
    over = threading.Event()

    def look() -> None:
        while not over.wait(_AGAIN):
            if not still_wanted(records):
                return cancel.set()

    thread = threading.Thread(target=look, name="parent", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
