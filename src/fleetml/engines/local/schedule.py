"""Runs the steps of a plan, or of one loop in it: each as soon as what it needs is over, several at once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any

from fleetml.errors import FleetMLError
from fleetml.events import Listener, ignore
from fleetml.pipeline import Inputs, Plan, Step
from fleetml.pipeline.model import ITEMS, Group, Loop
from fleetml.records import Attempt, Run
from fleetml.runners import Runner
from fleetml.step import RunContext, StepOutcome
from fleetml.step import run as run_step

Tell = Callable[[str, str, Attempt | None], None]
"""Told a step, its new state, and its record once there is one; from one thread."""

_LOOK = 0.1  # s between looks at the cancel event; the end of a step is noticed at once


def items_of(inputs: Inputs) -> Sequence[Any]:
    """Return what a `Loop` with these inputs goes over, as `Plan.unfold` wants it."""
    return inputs.parameters.get(ITEMS) or inputs.artifacts.get(ITEMS, [])


class Schedule:
    """The steps that are to be run. Only the thread that called `run` reads and writes what is here.

    `outcomes` are those known before, and in the end all. `items` are those of loops that are unfolded already; `scope` names
    a group (one iteration of them): only its steps are run. `retries` are those of steps that state none.
    """

    def __init__(
        self,
        plan: Plan,
        parameters: Mapping[str, Any],
        outcomes: dict[str, Mapping[str, Any]],
        context: RunContext,
        runner: Runner,
        cancel: threading.Event,
        tell: Tell = lambda step, state, attempt: None,
        notify: Listener = ignore,
        scope: str = "",
        items: Mapping[str, Sequence[Any]] | None = None,
        retries: int = 0,
    ) -> None:
        self.parameters, self.outcomes, self.context, self.runner = parameters, outcomes, context, runner
        self.cancel, self.tell, self.notify, self.scope, self.retries = cancel, tell, notify, scope, retries
        self.records = Run(context.settings.home, context.run_id)
        self.running: dict[Future[StepOutcome], str] = {}
        self.items = dict(items or {})  # of the loops unfolded so far
        self.plan = plan.unfold(self.items) if items else plan
        self.waiting = self._left()

    def run(self, workers: int) -> None:
        """Run them, at most `workers` at once. Raises Unavailable when no record can be written."""
        with ThreadPoolExecutor(workers, thread_name_prefix="step") as pool:
            try:
                while self._start_ready(pool, workers) or self.running:
                    if self.records.stop_asked():
                        self.cancel.set()
                    done, _ = wait(self.running, timeout=_LOOK, return_when=FIRST_COMPLETED)
                    for future in done:
                        step = self.running.pop(future)
                        outcome = future.result()
                        self.outcomes[step] = outcome.to_json()
                        self.tell(step, outcome.state, self.records.attempts(step)[-1])
            except BaseException:
                self.cancel.set()  # or the pool would wait for steps that nobody wants any more
                raise

    @property
    def state(self) -> str:
        """What the run came to: succeeded, failed or cancelled."""
        states = {outcome["state"] for outcome in self.outcomes.values()}
        if states & {"failed", "upstream_failed"}:
            return "failed"
        return "cancelled" if "cancelled" in states or self.waiting else "succeeded"

    def _start_ready(self, pool: ThreadPoolExecutor, workers: int) -> bool:
        """Start or settle the steps whose upstream is over; say whether one was (which may free the next)."""
        moved = False
        for step in list(self.waiting):
            if self.cancel.is_set() or len(self.running) >= workers:
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

    def _start(self, pool: ThreadPoolExecutor, name: str) -> None:
        step = self.plan.steps[name]
        try:
            decision = self.plan.decide(name, self.parameters, self.outcomes)
            if decision.action == "run":
                inputs = self.plan.resolve(name, self.parameters, self.outcomes, self.context.names(name))
                if isinstance(step, Loop):
                    self._unfold(name, items_of(inputs))
                else:
                    self.running[pool.submit(self._attempts, step, inputs)] = name
                    self.tell(name, "running", None)
                return
        except FleetMLError as error:  # a condition or a value that only this run shows to be wrong
            self._settle(name, "failed", str(error))
        else:
            self._settle(name, "skipped" if decision.action == "skip" else decision.action, decision.reason)

    def _unfold(self, loop: str, items: Sequence[Any]) -> None:
        """Put the iterations of a loop in its place, now that its items are known."""
        self.items[loop] = items
        self.plan = self.plan.unfold(self.items)
        self.waiting = self._left()
        self.records.unfold(loop, self.plan.groups[loop].steps)

    def _left(self) -> list[str]:
        """Return the steps that are to be run and were not begun."""
        begun, steps = {*self.outcomes, *self.running.values()}, self.plan.steps
        return [name for name in steps if name not in begun and (not self.scope or self.scope in steps[name].group)]

    def _settle(self, step: str, state: str, reason: str) -> None:
        attempt = self.records.note(step, state, reason)
        self.outcomes[step] = attempt.outcome or {}
        self.tell(step, state, attempt)

    def _attempts(self, step: Step, inputs: Inputs) -> StepOutcome:
        """Try a step as often as its retry policy says, waiting longer each time. Runs in a thread of the pool."""
        delay = step.retry.delay
        for left in range(step.retry.count or self.retries, -1, -1):
            outcome = run_step(step, inputs, self.context, self.runner, self.notify, self.cancel)
            again = left and outcome.failure is not None and outcome.failure.worth_a_retry
            if not again or self.cancel.wait(min(delay, step.retry.longest)):
                break
            delay *= step.retry.factor
        return outcome
