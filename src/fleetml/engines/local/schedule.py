"""Runs the steps of a plan, or of one loop in it: each as soon as what it needs is over, several at once."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from fleetml.engines.start import is_start
from fleetml.errors import FleetMLError
from fleetml.events import Listener, ignore
from fleetml.pauses import Pausing, finish
from fleetml.pipeline import Inputs, Plan, Step
from fleetml.pipeline.model import ITEMS, Loop
from fleetml.records import Attempt, Run
from fleetml.runners import Runner
from fleetml.step import RunContext, StepOutcome, stages

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
        self.running: dict[str, threading.Thread] = {}
        self.ended: queue.SimpleQueue[tuple[str, StepOutcome | BaseException]] = queue.SimpleQueue()
        self.items = dict(items or {})  # of the loops unfolded so far
        self.plan = plan.unfold(self.items) if items else plan
        self._survey()

    def run(self, workers: int) -> None:
        """Run them, at most `workers` at once. Raises Unavailable when no record can be written."""
        self.workers = workers
        try:
            while self._start_all_ready(workers):
                self._hear_stop()
                self._take_ended()
        except BaseException:
            self.cancel.set()  # or we would wait for steps that nobody wants any more
            raise
        finally:
            for thread in self.running.values():
                thread.join()

    @property
    def state(self) -> str:
        """What the run came to: succeeded, failed or cancelled."""
        states = {outcome["state"] for outcome in self.outcomes.values()}
        if states & {"failed", "upstream_failed"}:
            return "failed"
        return "cancelled" if "cancelled" in states or self.waiting else "succeeded"

    def _survey(self) -> None:
        """Find out what is left to do, what is ready, and what waits for what: at first, and when the plan has changed."""
        steps, begun = self.plan.steps, {*self.outcomes, *self.running}
        left = [name for name in steps if name not in begun and (not self.scope or self.scope in steps[name].group)]
        self.waiting = dict.fromkeys(left)
        self.lacking = {
            name: {before for before in steps[name].upstream if before not in self.outcomes} for name in left
        }
        self.followers: dict[str, list[str]] = {}
        for name, lacking in self.lacking.items():
            for before in lacking:
                self.followers.setdefault(before, []).append(name)
        self.ready = dict.fromkeys(name for name in left if not self.lacking[name])
        self.going_on: dict[str, set[str]] = {}  # iterations, by loop with a limit
        for name in begun & steps.keys():
            self._follow_iterations(steps[name])

    def _start_all_ready(self, workers: int) -> bool:
        """Start or settle all steps that can be, those too that this makes ready; say whether some run."""
        while self._start_ready(workers):
            pass
        return bool(self.running)

    def _start_ready(self, workers: int) -> bool:
        """Start or settle the steps that are ready; say whether one was."""
        moved = False
        for name in list(self.ready):
            self._hear_stop()
            if self.cancel.is_set() or len(self.running) >= workers:
                break
            if name in self.ready and self._is_admitted(self.plan.steps[name]):
                del self.ready[name], self.waiting[name]
                self._start(name)
                moved = True
        return moved

    def _hear_stop(self) -> None:
        if self.records.stop_asked():
            self.cancel.set()

    def _take_ended(self) -> None:
        """Wait a moment for a step to end."""
        try:
            name, ended = self.ended.get(timeout=_LOOK)
        except queue.Empty:
            return
        self.running.pop(name).join()
        if isinstance(ended, BaseException):
            raise ended
        self._end(name, ended)

    def _end(self, name: str, ended: StepOutcome) -> None:
        self._know(name, ended.to_json())
        self.tell(name, ended.state, self.records.attempt(name, ended.attempt))

    def _know(self, name: str, outcome: Mapping[str, Any]) -> None:
        """Take a step as over: what waited for nothing else is ready."""
        self.outcomes[name] = outcome
        for follower in self.followers.get(name, ()):
            self.lacking[follower].discard(name)
            if not self.lacking[follower]:
                self.ready[follower] = None
        self._follow_iterations(self.plan.steps[name])

    def _limited(self, step: Step) -> Iterator[tuple[str, str, int]]:
        """Yield the loops with a limit of parallelism around a step, its iteration in each, and the limit."""
        for loop, iteration in zip(step.group, step.group[1:], strict=False):
            if limit := self.plan.groups[loop].parallelism:
                yield loop, iteration, limit

    def _is_admitted(self, step: Step) -> bool:
        """Say whether the iterations that a step belongs to go on already, or may begin beside those that do."""
        for loop, iteration, limit in self._limited(step):
            going_on = self.going_on.get(loop, set())
            if iteration not in going_on and len(going_on) >= limit:
                return False
        return True

    def _follow_iterations(self, step: Step) -> None:
        """An iteration goes on from when the first of its steps is begun until all of them are over."""
        for loop, iteration, _ in self._limited(step):
            going_on = self.going_on.setdefault(loop, set())
            going_on.add(iteration)
            if all(inner in self.outcomes for inner in self.plan.groups[iteration].steps):
                going_on.remove(iteration)

    def _start(self, name: str) -> None:
        step = self.plan.steps[name]
        try:
            decision = self.plan.decide(name, self.parameters, self.outcomes)
            if decision.action == "run":
                inputs = self.plan.resolve(name, self.parameters, self.outcomes, self.context.names(name))
                if isinstance(step, Loop):
                    self._unfold(name, items_of(inputs))
                else:
                    self._begin(step, inputs)
                return
        except FleetMLError as error:  # a condition or a value that only this run shows to be wrong
            self._settle(name, "failed", str(error))
        else:
            self._settle(name, "skipped" if decision.action == "skip" else decision.action, decision.reason)

    def _begin(self, step: Step, inputs: Inputs) -> None:
        """Do what is short of a step here: a hit is over then. The rest goes on in a thread of its own."""
        attempts = self._attempts(step, inputs)
        try:
            next(attempts)
        except StopIteration as end:
            self.tell(step.name, "running", None)
            self._end(step.name, end.value)
        else:
            self._go_on(step, attempts)
            self.tell(step.name, "running", None)

    def _go_on(self, step: Step, attempts: Pausing[StepOutcome]) -> None:
        def rest() -> None:
            try:
                self.ended.put((step.name, finish(attempts)))
            except BaseException as error:
                self.ended.put((step.name, error))

        thread = threading.Thread(target=rest, name=f"step {step.name}")
        thread.start()
        self.running[step.name] = thread
        self._follow_iterations(step)

    def _unfold(self, loop: str, items: Sequence[Any]) -> None:
        """Put the iterations of a loop in its place, now that its items are known."""
        self.plan = self.plan.unfold({**self.items, loop: items})
        self.items[loop] = items  # not before: one that is too long fails alone
        self._survey()
        self.records.unfold(loop, self.plan.groups[loop].steps)

    def _settle(self, step: str, state: str, reason: str) -> None:
        attempt = self.records.note(step, state, reason)
        self._know(step, attempt.outcome or {})
        self.tell(step, state, attempt)

    def _attempts(self, step: Step, inputs: Inputs) -> Pausing[StepOutcome]:
        """Try a step as often as its retry policy says, waiting longer each time."""
        delay = step.retry.delay
        for left in range(step.retry.count or self.retries, -1, -1):
            outcome = yield from self._attempt(step, inputs)
            again = left and outcome.failure is not None and outcome.failure.worth_a_retry
            if not again:
                break
            yield
            if self.cancel.wait(min(delay, step.retry.longest)):
                break
            delay *= step.retry.factor
        return outcome

    def _attempt(self, step: Step, inputs: Inputs) -> Pausing[StepOutcome]:
        if is_start(step):
            from fleetml.engines.local.start import start  # here, as most pipelines start no other

            yield
            return start(step, inputs, self.context, self.runner, self.notify, self.cancel, self.workers)
        return (yield from stages(step, inputs, self.context, self.runner, self.notify, self.cancel))
