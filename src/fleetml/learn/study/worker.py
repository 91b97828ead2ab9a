"""Trials in processes of their own: what crashes, hangs or eats memory is an outcome, and the study goes on.

A trial is a fork, so that the data its objective closes over are there without a copy, in a session of its own, so that what
it starts ends with it. It computes on one thread: the pools of threads of this process do not live in a fork. Where processes are
`lasting` a fork takes the next trial too, as long as none broke it and little of their memory is left in it.
"""

from __future__ import annotations

import contextlib
import signal
import time
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from fleetml.frozen import field, mutable
from fleetml.learn.study import confinement
from fleetml.learn.study.ledger import Ledger
from fleetml.learn.study.stopping import Clock
from fleetml.learn.study.trial import Outcome, Trial, attempt

if TYPE_CHECKING:
    import optuna

    from fleetml.learn.study.loop import Objective

# An objective that returns at its deadline has so long [s] to hand over what it has: a share of its time, from the least to the most.
_SHARE, _LEAST, _MOST = 0.1, 2.0, 10.0
# How often [s] the time and the memory of the trials are looked at
_LOOK = 0.1
# Of `memory_mb`, the most that earlier trials may leave in a process that takes another
_REMAINS = 0.25
_MB = 2**20


@mutable
class Worker:
    """A process that does trials; `began_with` [bytes] is the memory of the fork as it began."""

    process: Any
    connection: Connection
    began_with: int = 0

    @property
    def added_mb(self) -> float:
        """What the process and all it has started hold beyond what it began with; 0 before it has told that."""
        return (confinement.memory(self.process.pid) - self.began_with) / _MB if self.began_with else 0.0

    def end(self) -> None:
        confinement.kill(self.process.pid)
        self.process.join()
        self.connection.close()


@mutable
class Running:
    """A trial that goes on in a worker."""

    asked: optuna.Trial
    trial: Trial
    worker: Worker
    ask_pruner: Any
    begun: float = field(default_factory=time.monotonic)

    def outcome(self, state: str, reason: str) -> Outcome:
        return Outcome(self.trial.number, self.trial.params, state, reason=reason)


class Crew:
    """The trials that run at a time."""

    def __init__(self, objective: Objective, ledger: Ledger, clock: Clock, folder: Path) -> None:
        self.objective, self.ledger, self.clock, self.folder = objective, ledger, clock, folder
        self.running: list[Running] = []
        self.idle: list[Worker] = []

    def begin(self, asked: optuna.Trial) -> None:
        """Start a trial."""
        from fleetml.learn.study import loop

        trial = loop.prepared(asked, self.ledger, self.clock, self.folder)
        ask_pruner, trial.ask_pruner = trial.ask_pruner, _asked_here
        self.running.append(Running(asked, trial, self._given(trial), ask_pruner))

    def _given(self, trial: Trial) -> Worker:
        """Return the worker that was given the trial: an idle one that still lives, else a new one."""
        while self.idle:
            worker = self.idle.pop()
            with contextlib.suppress(OSError):  # it died since its last trial
                worker.connection.send(trial)
                return worker
            worker.end()
        worker = self._forked()
        worker.connection.send(trial)
        return worker

    def _forked(self) -> Worker:
        settings, context = self.ledger.settings, get_context("fork")
        here, there = context.Pipe()
        given = (self.objective, there, settings.memory_mb, len(settings.directions), settings.lasting)
        process = context.Process(target=_child, args=given, daemon=False)
        process.start()
        there.close()
        return Worker(process, here)

    def attend(self) -> None:
        """Answer what trials ask, end those that broke a limit, tell the ends."""
        waited: list[Any] = [each.worker.connection for each in self.running]
        wait(waited + [each.worker.process.sentinel for each in self.running], timeout=_LOOK)
        for each in list(self.running):
            dead = self._death(each)  # looked at first: what a process said before its end is read after it
            if outcome := self._heard(each):
                self._end(each, outcome, again=dead is None)
            elif outcome := dead or self._broke(each):
                self._end(each, outcome, again=False)

    def leave(self) -> None:
        """End what still runs; it is done again when the study goes on."""
        for worker in self.idle:
            worker.end()
        for each in list(self.running):
            self.running.remove(each)
            each.worker.end()
            self.ledger.give_up(each.asked)

    def _heard(self, each: Running) -> Outcome | None:
        """Read what the trial says; return its outcome when that is it."""
        try:
            while each.worker.connection.poll():
                kind, *said = each.worker.connection.recv()
                if kind == "end":
                    return said[0]
                if kind == "began":
                    each.worker.began_with = said[0]
                else:
                    each.worker.connection.send(each.ask_pruner(*said))
        except (EOFError, OSError):  # it is dying: its exit status will tell how
            each.worker.process.join(_LEAST)
        return None

    def _death(self, each: Running) -> Outcome | None:
        if each.worker.process.exitcode is None:
            return None
        return each.outcome("crashed", _death(each.worker.process.exitcode))

    def _broke(self, each: Running) -> Outcome | None:
        settings = self.ledger.settings
        took = time.monotonic() - each.begun
        spare = settings.spare_seconds or grace(each.trial.deadline - each.begun)
        if time.monotonic() > each.trial.deadline + spare:
            return each.outcome("late", f"it did not end in its time and was ended after {took:.1f} s")
        if settings.memory_mb and (added := each.worker.added_mb) > settings.memory_mb:
            return each.outcome("memory", f"it took {added:.0f} MB, the limit is {settings.memory_mb} MB")
        return None

    def _end(self, each: Running, outcome: Outcome, *, again: bool) -> None:
        """Tell an outcome; `again`: the worker may take another trial."""
        from fleetml.learn.study import loop

        self.running.remove(each)
        if again and self._lasts(each.worker):
            self.idle.append(each.worker)
        else:
            each.worker.end()
        loop.finish(self.ledger, each.asked, outcome, time.monotonic() - each.begun)

    def _lasts(self, worker: Worker) -> bool:
        settings = self.ledger.settings
        if not settings.lasting:
            return False
        return not settings.memory_mb or worker.added_mb <= _REMAINS * settings.memory_mb


def grace(seconds: float) -> float:
    """Return how long [s] a trial that had so many seconds is let go on after its deadline before it is ended."""
    return min(_MOST, max(_LEAST, _SHARE * seconds))


def _death(status: int) -> str:
    if status >= 0:
        return f"its process ended with status {status} before the objective returned"
    name = signal.Signals(-status).name
    return f"its process was ended by {name}" + (" (memory that runs out ends so)" if name == "SIGKILL" else "")


def _asked_here(step: int, value: float) -> str:
    """Stand for the pruner on the way to a worker: what asks the study cannot go through a pipe."""
    return ""


def _child(objective: Objective, connection: Connection, memory_mb: int, objectives: int, lasting: bool) -> None:
    confinement.enter(memory_mb)

    def ask_pruner(step: int, value: float) -> str:
        connection.send(("report", step, value))
        return str(connection.recv())

    connection.send(("began", psutil.Process().memory_info().rss))
    while True:
        trial = connection.recv()
        trial.ask_pruner = ask_pruner
        connection.send(("end", attempt(objective, trial, objectives)))
        if not lasting:
            return
