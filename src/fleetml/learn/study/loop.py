"""The loop of a study: ask, try, tell, until the budget is spent.

result = run(objective, {"x": FloatDistribution(0, 1)}, StudySettings(trials=20))
result.best.params
"""

from __future__ import annotations

import logging
import shutil
import tempfile
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fleetml import frozen
from fleetml.learn.study import stopping
from fleetml.learn.study.ledger import Ledger, seed_of
from fleetml.learn.study.settings import StudySettings
from fleetml.learn.study.space import Space
from fleetml.learn.study.trial import Outcome, Trial, Values, attempt

if TYPE_CHECKING:
    import optuna

    from fleetml.learn.study.worker import Crew

log = logging.getLogger(__name__)
# How often [s] a process without work looks whether another's trial is lost
_POLL = 0.2
Objective = Callable[[Trial], Values]


@dataclass(frozen=True)
class StudyResult:
    """What a study found, over all of its processes and of its resumptions.

    `best`: the feasible trial with the best first objective; None where no trial is complete and feasible. `front`: the
    feasible ones that no other one beats in all objectives, the best first objective first. `kept`: by number, what a trial
    gave to `Trial.keep`; but beside a journal they live as long as this object.
    """

    best: Outcome | None
    front: tuple[Outcome, ...]
    outcomes: tuple[Outcome, ...]
    kept: Mapping[int, Path]
    seconds: float
    reason_to_stop: str

    @property
    def nearest(self) -> Outcome | None:
        """The complete trial that breaks the constraints least: `best`, where there is one."""
        complete = [each for each in self.outcomes if each.values]
        return self.best or min(complete, key=lambda each: each.violation, default=None)


def run(
    objective: Objective, space: Space, settings: StudySettings, starts: Sequence[Mapping[str, Any]] = ()
) -> StudyResult:
    """Try `starts` (whole or partial points), then what the sampler proposes; return what was found.

    A trial that raises, prunes or returns NaN is an outcome and the study goes on; in a process of its own
    (`settings.isolated`) one that crashes, hangs or takes too much memory too. The objective is then run in a fork: what it
    closes over is there, what it changes is not here. A study with a storage goes on where it was left.
    """
    clock = stopping.Clock.start(settings)
    ledger = Ledger(space, settings, starts)
    if journal := settings.journal:
        return _over(objective, ledger, clock, Path(f"{journal}.kept") / settings.name)
    folder = Path(tempfile.mkdtemp(prefix="fleetml-study-"))
    try:
        result = _over(objective, ledger, clock, folder)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    weakref.finalize(result, shutil.rmtree, folder, ignore_errors=True)
    return result


def _over(objective: Objective, ledger: Ledger, clock: stopping.Clock, folder: Path) -> StudyResult:
    """Run the trials; what they keep lies in `folder`."""
    reason = (_isolated if ledger.settings.isolated else _serial)(objective, ledger, clock, folder)
    return _result(ledger, folder, clock, reason)


def _serial(objective: Objective, ledger: Ledger, clock: stopping.Clock, folder: Path) -> str:
    while not (reason := stopping.reason(clock, ledger.outcomes())):
        asked = ledger.ask()
        if asked is None:
            if not ledger.waits():
                return f"{ledger.trials} trials are done"
            time.sleep(_POLL)
            continue
        try:
            trial, begun = prepared(asked, ledger, clock, folder), time.monotonic()
            outcome = attempt(objective, trial, len(ledger.settings.directions))
        except BaseException:  # an interrupt ends the study; the trial is done again when it goes on
            ledger.give_up(asked)
            raise
        finish(ledger, asked, outcome, time.monotonic() - begun)
    return reason


def _isolated(objective: Objective, ledger: Ledger, clock: stopping.Clock, folder: Path) -> str:
    from fleetml.learn.study.worker import Crew

    crew = Crew(objective, ledger, clock, folder)
    try:
        while True:
            reason = _fill(crew, ledger, clock)
            if crew.running:
                crew.attend()
            elif reason:
                return reason
            else:
                time.sleep(_POLL)
    finally:
        crew.leave()


def _fill(crew: Crew, ledger: Ledger, clock: stopping.Clock) -> str:
    """Begin trials while there is a free worker; return why no more begin, "" where one may yet."""
    while len(crew.running) < ledger.settings.workers:
        if reason := stopping.reason(clock, ledger.outcomes(), len(crew.running)):
            return reason
        asked = ledger.ask()
        if asked is None:
            return "" if ledger.waits() else f"{ledger.trials} trials are done"
        crew.begin(asked)
    return ""


def prepared(asked: optuna.Trial, ledger: Ledger, clock: stopping.Clock, folder: Path) -> Trial:
    """Return a trial for the objective, in this process."""
    seed = seed_of(ledger.settings.seed, asked.number)
    kept_at = folder / str(asked.number)
    return Trial(asked.number, asked.params, seed, clock.deadline(), kept_at, pruner(asked), study_end=clock.end)


def pruner(asked: optuna.Trial) -> Callable[[int, float], str]:
    """Return what asks the study's pruner about a trial, once for a report."""

    def ask(step: int, value: float) -> str:
        if len(asked.study.directions) > 1:  # Optuna prunes by one figure only
            return ""
        asked.report(value, step)
        return f"{value:.6g} at step {step} is worse than others were" if asked.should_prune() else ""

    return ask


def finish(ledger: Ledger, asked: optuna.Trial, outcome: Outcome, seconds: float) -> None:
    """Tell an outcome to the study, and to the log where that is asked for."""
    ledger.tell(asked, frozen.replace(outcome, seconds=round(seconds, 3)))
    if not ledger.settings.logged:
        return
    said = ", ".join(f"{value:.6g}" for value in outcome.values) or f"{outcome.state}: {outcome.reason}"
    log.info("trial %d: %.1f s, %s; %s", outcome.number, seconds, said, dict(outcome.params))


def _result(ledger: Ledger, folder: Path, clock: stopping.Clock, reason: str) -> StudyResult:
    outcomes = tuple(ledger.outcomes())
    front = _front([each for each in outcomes if each.values and not each.violation], ledger.settings.directions)
    kept = {each.number: folder / str(each.number) for each in outcomes if (folder / str(each.number)).exists()}
    return StudyResult(front[0] if front else None, front, outcomes, kept, clock.seconds, reason)


def _front(feasible: list[Outcome], directions: Sequence[str]) -> tuple[Outcome, ...]:
    signs = [1 if direction == "minimize" else -1 for direction in directions]
    points = {each.number: tuple(s * v for s, v in zip(signs, each.values, strict=True)) for each in feasible}
    ordered = sorted(feasible, key=lambda each: (points[each.number], each.number))
    front: list[Outcome] = []
    for each in ordered:  # whoever beats it comes before it
        mine = points[each.number]
        if not any(all(a <= b for a, b in zip(points[other.number], mine, strict=True)) for other in front):
            front.append(each)
    return tuple(front)
