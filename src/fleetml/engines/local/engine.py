"""Runs a plan: each step as soon as what it needs is over, several at once, and the truth about every one."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from fleetml.errors import FleetMLError
from fleetml.images import Images
from fleetml.pipeline import Inputs, Plan, Step
from fleetml.pipeline.model import ITEMS, Group, Loop
from fleetml.records import Attempt, Run
from fleetml.runners import Runner
from fleetml.runners.subprocess import SubprocessRunner
from fleetml.settings import Settings
from fleetml.step import RunContext, StepOutcome
from fleetml.step import run as run_step

Tell = Callable[[str, str, Attempt | None], None]
"""Told a step, its new state, and its record once there is one; from one thread."""

_LOOK = 0.1  # s between looks at the cancel event; the end of a step is noticed at once


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

    Setting `cancel` stops the steps that run and starts no other. Raises Unavailable when no record can be written,
    ConfigurationError when another process runs this run.
    """
    runner = runner or SubprocessRunner(passed=settings.step_variables)
    return _Engine(job, settings, tell, cancel or threading.Event(), runner).run()


class _Engine:
    """One run while it goes on. Only the thread that called `run` reads and writes what is here."""

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
        self.items: dict[str, Sequence[Any]] = {}  # of the loops unfolded so far

    def run(self) -> str:
        with self.records.held():
            self._begin()
            try:
                with ThreadPoolExecutor(self.job.workers, thread_name_prefix="step") as pool:
                    self._schedule(pool)
            except BaseException:
                # The record tells the truth even of our own mistakes, as far as it can still be written.
                with contextlib.suppress(OSError):
                    self.records.finish("failed")
                raise
            state = self._state()
            self.records.finish(state)
            return state

    def _begin(self) -> None:
        document = {
            "pipeline": self.plan.name,
            "digest": self.plan.digest,
            "engine": "local",
            "parameters": dict(self.job.parameters),
            "steps": list(self.plan.steps),
        }
        self.records.start(document, self.job.pipeline)
        self.context = replace(self.context, created=self.records.read()["started"])

    def _schedule(self, pool: ThreadPoolExecutor) -> None:
        try:
            while self._start_ready(pool) or self.running:
                done, _ = wait(self.running, timeout=_LOOK, return_when=FIRST_COMPLETED)
                for future in done:
                    step = self.running.pop(future)
                    outcome = future.result()
                    self.outcomes[step] = outcome.to_json()
                    self.tell(step, outcome.state, self.records.attempts(step)[-1])
        except BaseException:
            self.cancel.set()  # or the pool would wait for steps that nobody wants any more
            raise

    def _start_ready(self, pool: ThreadPoolExecutor) -> bool:
        """Start or settle the steps whose upstream is over; say whether one was (which may free the next)."""
        moved = False
        for step in list(self.waiting):
            if self.cancel.is_set() or len(self.running) >= self.job.workers:
                break
            if step in self.waiting and self._is_ready(self.plan.steps[step]):
                self.waiting.remove(step)
                self._start(pool, step)
                moved = True
        return moved

    def _is_ready(self, step: Step) -> bool:
        """Say whether all that comes before a step is over, and a loop's limit of parallelism lets its iteration go on."""
        if not all(before in self.outcomes for before in step.upstream):
            return False
        pairs = zip(step.group, step.group[1:], strict=False)
        return all(
            self._admits(self.plan.groups[loop], one) for loop, one in pairs if self.plan.groups[loop].parallelism
        )

    def _admits(self, loop: Group, iteration: str) -> bool:
        """Say whether an iteration of a loop goes on already, or may begin beside those that do."""
        running = set(self.running.values())
        going_on = set()
        for name, group in self.plan.groups.items():
            if group.group[-1:] == (loop.name,):
                over = [step in self.outcomes for step in group.steps]
                if not all(over) and (any(over) or running.intersection(group.steps)):
                    going_on.add(name)
        return iteration in going_on or len(going_on) < loop.parallelism

    def _start(self, pool: ThreadPoolExecutor, step: str) -> None:
        try:
            decision = self.plan.decide(step, self.job.parameters, self.outcomes)
            if decision.action == "run":
                inputs = self.plan.resolve(step, self.job.parameters, self.outcomes, self.context.names(step))
                if isinstance(self.plan.steps[step], Loop):
                    self._unfold(step, inputs)
                else:
                    self.running[pool.submit(self._attempts, self.plan.steps[step], inputs)] = step
                    self.tell(step, "running", None)
                return
        except FleetMLError as error:  # a condition or a value that only this run shows to be wrong
            self._settle(step, "failed", str(error))
        else:
            self._settle(step, "skipped" if decision.action == "skip" else decision.action, decision.reason)

    def _unfold(self, loop: str, inputs: Inputs) -> None:
        """Put the iterations of a loop in its place, now that its items are known."""
        self.items[loop] = inputs.parameters.get(ITEMS) or inputs.artifacts.get(ITEMS, [])
        self.plan = self.plan.unfold(self.items)
        begun = {*self.outcomes, *self.running.values()}
        self.waiting = [step for step in self.plan.steps if step not in begun]
        self.records.update(steps=list(self.plan.steps))

    def _settle(self, step: str, state: str, reason: str) -> None:
        attempt = self.records.note(step, state, reason)
        self.outcomes[step] = attempt.outcome or {}
        self.tell(step, state, attempt)

    def _attempts(self, step: Step, inputs: Inputs) -> StepOutcome:
        """Try a step as often as its retry policy says, waiting longer each time. Runs in a thread of the pool."""
        delay = step.retry.delay
        for left in range(step.retry.count, -1, -1):
            outcome = run_step(step, inputs, self.context, self.runner, cancel=self.cancel)
            again = left and outcome.failure is not None and outcome.failure.worth_a_retry
            if not again or self.cancel.wait(min(delay, step.retry.longest)):
                break
            delay *= step.retry.factor
        return outcome

    def _state(self) -> str:
        states = {outcome["state"] for outcome in self.outcomes.values()}
        if states & {"failed", "upstream_failed"}:
            return "failed"
        return "cancelled" if "cancelled" in states or self.waiting else "succeeded"
