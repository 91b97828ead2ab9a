"""Runs a plan: each step as soon as what it needs is over, several at once, and the truth about every one."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from fleetml.errors import FleetMLError
from fleetml.images import Images
from fleetml.pipeline import Plan
from fleetml.records import Attempt, Run
from fleetml.runners import Runner
from fleetml.runners.subprocess import SubprocessRunner
from fleetml.settings import Settings
from fleetml.step import RunContext, StepOutcome
from fleetml.step import run as run_step

Tell = Callable[[str, str, Attempt | None], None]
"""Told a step, its new state and its record, from any thread."""

_LOOK = 0.1  # s between looks at the cancel event


@dataclass(frozen=True)
class Job:
    """One run to do: `parameters` are bound, `kept` are outcomes of an earlier attempt at this run (resume)."""

    plan: Plan
    pipeline: Path
    parameters: Mapping[str, Any]
    run_id: str
    kept: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    workers: int = 4
    caching: bool = True


def run(
    job: Job,
    settings: Settings,
    tell: Tell = lambda step, state, attempt: None,
    cancel: threading.Event | None = None,
    runner: Runner | None = None,
) -> str:
    """Run a job to its end; return "succeeded", "failed" or "cancelled". Everything is in the run's record.

    Setting `cancel` stops the steps that run and starts no other. Raises Unavailable when no record can be written.
    """
    runner = runner or SubprocessRunner(passed=settings.step_variables)
    return _Engine(job, settings, tell, cancel or threading.Event(), runner).run()


class _Engine:
    def __init__(self, job: Job, settings: Settings, tell: Tell, cancel: threading.Event, runner: Runner) -> None:
        self.job, self.plan, self.tell, self.cancel, self.runner = job, job.plan, tell, cancel, runner
        self.records = Run(settings.home, job.run_id)
        self.context = RunContext(
            run_id=job.run_id,
            pipeline=job.plan.name,
            settings=settings,
            images=Images(settings.project),
            created=time.time(),
            caching=job.caching,
            resume=f"fleetml resume {job.run_id}",
        )
        self.outcomes: dict[str, Mapping[str, Any]] = dict(job.kept)
        self.waiting = [step for step in self.plan.steps if step not in self.outcomes]
        self.running: dict[Future[StepOutcome], str] = {}

    def run(self) -> str:
        self.records.start(
            {
                "pipeline": self.plan.name,
                "digest": self.plan.digest,
                "engine": "local",
                "parameters": dict(self.job.parameters),
                "steps": list(self.plan.steps),
            },
            self.job.pipeline,
        )
        self.context = replace(self.context, created=self.records.read()["started"])
        with ThreadPoolExecutor(max(1, self.job.workers)) as pool:
            try:
                self._schedule(pool)
            except BaseException:
                self.cancel.set()
                raise
        state = self._state()
        self.records.finish(state)
        return state

    def _schedule(self, pool: ThreadPoolExecutor) -> None:
        while self.waiting or self.running:
            if not self.cancel.is_set():
                self._start_ready(pool)
            if not self.running:
                return
            done, _ = wait(self.running, timeout=_LOOK, return_when=FIRST_COMPLETED)
            for future in done:
                step = self.running.pop(future)
                outcome = future.result()
                self.outcomes[step] = outcome.to_json()
                self.tell(step, outcome.state, self.records.attempts(step)[-1])

    def _start_ready(self, pool: ThreadPoolExecutor) -> None:
        """Decide every step whose upstream is over; deciding one may free the next."""
        for step in list(self.waiting):
            if any(before not in self.outcomes for before in self.plan.steps[step].upstream):
                continue
            self.waiting.remove(step)
            decision = self.plan.decide(step, self.job.parameters, self.outcomes)
            if decision.action == "run":
                self.tell(step, "running", None)
                self.running[pool.submit(self._attempts, step)] = step
            else:
                self._note(step, "skipped" if decision.action == "skip" else decision.action, decision.reason)

    def _note(self, step: str, state: str, reason: str) -> None:
        attempt = self.records.note(step, state, reason)
        self.outcomes[step] = attempt.outcome or {}
        self.tell(step, state, attempt)

    def _attempts(self, name: str) -> StepOutcome:
        """Try a step as often as its retry policy says, waiting longer each time."""
        step = self.plan.steps[name]
        inputs = self.plan.resolve(name, self.job.parameters, self.outcomes, self.context.names(name))
        delay = step.retry.delay
        for left in range(step.retry.count, -1, -1):
            outcome = run_step(step, inputs, self.context, self.runner, cancel=self.cancel)
            mistake = outcome.failure is not None and outcome.failure.user_error
            if outcome.state != "failed" or mistake or not left or self.cancel.wait(min(delay, step.retry.longest)):
                break
            delay *= step.retry.factor
        return outcome

    def _state(self) -> str:
        states = {outcome["state"] for outcome in self.outcomes.values()}
        if states & {"failed", "upstream_failed"}:
            return "failed"
        return "cancelled" if self.cancel.is_set() or self.waiting else "succeeded"


def finished(records: Run, plan: Plan) -> dict[str, Mapping[str, Any]]:
    """Return the outcomes that a resumed run keeps: those of the steps that succeeded.

    Raises FleetMLError when the record belongs to another pipeline.
    """
    document = records.read()
    if document["digest"] != plan.digest:
        raise FleetMLError(
            f"run {records.run_id} ran pipeline {document['pipeline']} as it was then, the record's IR differs; start a new run"
        )
    latest = records.latest()
    return {step: a.outcome for step, a in latest.items() if a.state == "succeeded" and a.outcome}
