"""Trials in processes of their own: what crashes, hangs or eats memory is an outcome, and the study goes on.

A trial is a fork, so that the data its objective closes over are there without a copy, in a session of its own, so that what
it starts ends with it. It computes on one thread: the pools of threads of this process do not live in a fork.
"""

from __future__ import annotations

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
_MB = 2**20


@mutable
class Running:
    """A trial that goes on in its process; `began_with` [bytes] is the memory of the fork as it began."""

    asked: optuna.Trial
    trial: Trial
    process: Any
    connection: Connection
    ask_pruner: Any
    begun: float = field(default_factory=time.monotonic)
    began_with: int = 0

    def outcome(self, state: str, reason: str) -> Outcome:
        return Outcome(self.trial.number, self.trial.params, state, reason=reason)


class Crew:
    """The trials that run at a time."""

    def __init__(self, objective: Objective, ledger: Ledger, clock: Clock, folder: Path) -> None:
        self.objective, self.ledger, self.clock, self.folder = objective, ledger, clock, folder
        self.running: list[Running] = []

    def begin(self, asked: optuna.Trial) -> None:
        """Start a trial."""
        from fleetml.learn.study import loop

        trial = loop.prepared(asked, self.ledger, self.clock, self.folder)
        ask_pruner, settings = trial.ask_pruner, self.ledger.settings
        context = get_context("fork")
        here, there = context.Pipe()
        given = (self.objective, trial, there, settings.memory_mb, len(settings.directions))
        process = context.Process(target=_child, args=given, daemon=False)
        process.start()
        there.close()
        self.running.append(Running(asked, trial, process, here, ask_pruner))

    def attend(self) -> None:
        """Answer what trials ask, end those that broke a limit, tell the ends."""
        waited: list[Any] = [each.connection for each in self.running]
        wait(waited + [each.process.sentinel for each in self.running], timeout=_LOOK)
        for each in list(self.running):
            dead = self._death(each)  # looked at first: what a process said before its end is read after it
            if outcome := self._heard(each) or dead or self._broke(each):
                self._end(each, outcome)

    def leave(self) -> None:
        """End what still runs; it is done again when the study goes on."""
        for each in list(self.running):
            self._stop(each)
            self.ledger.give_up(each.asked)

    def _heard(self, each: Running) -> Outcome | None:
        """Read what the trial says; return its outcome when that is it."""
        try:
            while each.connection.poll():
                kind, *said = each.connection.recv()
                if kind == "end":
                    return said[0]
                if kind == "began":
                    each.began_with = said[0]
                else:
                    each.connection.send(each.ask_pruner(*said))
        except (EOFError, OSError):  # it is dying: its exit status will tell how
            each.process.join(_LEAST)
        return None

    def _death(self, each: Running) -> Outcome | None:
        if each.process.exitcode is None:
            return None
        return each.outcome("crashed", _death(each.process.exitcode))

    def _broke(self, each: Running) -> Outcome | None:
        settings = self.ledger.settings
        took = time.monotonic() - each.begun
        if time.monotonic() > each.trial.deadline + grace(each.trial.deadline - each.begun):
            return each.outcome("late", f"it did not end in its time and was ended after {took:.1f} s")
        if settings.memory_mb and each.began_with:
            added = (confinement.memory(each.process.pid) - each.began_with) / _MB
            if added > settings.memory_mb:
                return each.outcome("memory", f"it took {added:.0f} MB, the limit is {settings.memory_mb} MB")
        return None

    def _end(self, each: Running, outcome: Outcome) -> None:
        from fleetml.learn.study import loop

        self._stop(each)
        loop.finish(self.ledger, each.asked, outcome, time.monotonic() - each.begun)

    def _stop(self, each: Running) -> None:
        self.running.remove(each)
        confinement.kill(each.process.pid)
        each.process.join()
        each.connection.close()


def grace(seconds: float) -> float:
    """Return how long [s] a trial that had so many seconds is let go on after its deadline before it is ended."""
    return min(_MOST, max(_LEAST, _SHARE * seconds))


def _death(status: int) -> str:
    if status >= 0:
        return f"its process ended with status {status} before the objective returned"
    name = signal.Signals(-status).name
    return f"its process was ended by {name}" + (" (memory that runs out ends so)" if name == "SIGKILL" else "")


def _child(objective: Objective, trial: Trial, connection: Connection, memory_mb: int, objectives: int) -> None:
    confinement.enter(memory_mb)

    def ask_pruner(step: int, value: float) -> str:
        connection.send(("report", step, value))
        return str(connection.recv())

    trial.ask_pruner = ask_pruner
    connection.send(("began", psutil.Process().memory_info().rss))
    outcome = attempt(objective, trial, objectives)
    connection.send(("end", outcome))
