"""What a study's storage knows: which trials were begun, by whom, what became of them, which must be done again."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fleetml.errors import InvalidParameter
from fleetml.learn.study import owner as owners
from fleetml.learn.study import pruners, samplers, storage
from fleetml.learn.study import space as spaces
from fleetml.learn.study.settings import StudySettings
from fleetml.learn.study.space import Space
from fleetml.learn.study.trial import Outcome

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial

_SPACE = "fleetml:space"
_LOST = "fleetml:lost"  # its process is gone: not an outcome, its point is asked again
_OWNER = "fleetml:owner"
_JOINED = "fleetml:joined"
_AGAIN = "fleetml:again"
_OUTCOME = "fleetml:outcome"
# A process that dies with its machine leaves no trace: its trial is lost after this much of its own limit, or after a day.
_PATIENCE, _LONGEST = 2.0, 86_400.0


class Ledger:
    """The study in its storage. Only the process that runs the study writes; trials of other processes answer to theirs."""

    def __init__(self, space: Space, settings: StudySettings, starts: Sequence[Mapping[str, Any]] = ()) -> None:
        import warnings

        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        self.space, self.settings = space, settings
        self.trials = samplers.most_trials(space, settings, len(starts))
        sampler = samplers.made(space, settings, settings.seed)
        with storage.lock(settings):
            self.study = storage.opened(settings, sampler, pruners.made(settings.pruner))
            self._join(starts)

    def _join(self, starts: Sequence[Mapping[str, Any]]) -> None:
        """Begin the study, or take part in it: its space is the same, and what dead processes had begun is asked again."""
        space = ", ".join(f"{name}: {each!r}" for name, each in self.space.items())
        known = self.study.user_attrs.get(_SPACE)
        if known is None:
            for start in starts:
                self.study.enqueue_trial(dict(start))
            self.study.set_user_attr(_SPACE, space)
        elif known != space:
            raise InvalidParameter(
                f"study {self.settings.name!r} of {self.settings.storage} searches another space ({known}) than this one ({space}); give another name"
            )
        # Two processes with one seed would propose the same points.
        joined = self.study.user_attrs.get(_JOINED, 0)
        self.study.set_user_attr(_JOINED, joined + 1)
        if joined:
            self.study.sampler = samplers.made(self.space, self.settings, seed_of(self.settings.seed, joined))
        self._recover()

    def ask(self) -> optuna.Trial | None:
        """Begin a trial; None when all are begun."""
        with storage.lock(self.settings):
            self._recover()
            if sum(_counts(each) for each in self._trials()) >= self.trials:
                return None
            trial = self.study.ask()
            trial.set_user_attr(_OWNER, owners.this())
            spaces.draw(trial, self.space)
        return trial

    def waits(self) -> bool:
        """Return whether trials of other processes go on, which may yet be lost."""
        return any(each.state.name == "RUNNING" for each in self._trials())

    def tell(self, trial: optuna.Trial, outcome: Outcome) -> None:
        """Write what became of a trial."""
        from optuna.trial import TrialState

        for name, value in outcome.constraints.items():
            trial.set_constraint(name, value)
        told = {
            "state": outcome.state,
            "reason": outcome.reason,
            "seconds": outcome.seconds,
            "notes": dict(outcome.notes),
        }
        trial.set_user_attr(_OUTCOME, told)
        states = {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED}
        self.study.tell(trial, list(outcome.values) or None, state=states.get(outcome.state, TrialState.FAIL))

    def give_up(self, trial: optuna.Trial) -> None:
        """Leave a trial that this process had begun to be asked again."""
        self._lose(trial.number)

    def outcomes(self) -> list[Outcome]:
        """Return the outcomes of the finished trials, of all processes, by number."""
        return [_outcome(each) for each in self._trials() if each.state.is_finished() and not _lost(each)]

    def _trials(self) -> list[FrozenTrial]:
        return self.study.get_trials(deepcopy=False)

    def _recover(self) -> None:
        for each in self._trials():
            if each.state.name == "RUNNING" and not self._lives(each):
                self._lose(each.number)

    def _lives(self, trial: FrozenTrial) -> bool:
        owner = trial.user_attrs.get(_OWNER)
        if owner is None:  # it was asked and not yet signed; asking is done under the lock, so its process is gone
            return False
        longest = self.settings.trial_seconds + self.settings.spare_seconds
        return owners.lives(owner, min(_PATIENCE * longest, _LONGEST))

    def _lose(self, number: int) -> None:
        """Tell a trial as failed and enqueue its point, once: one that kills its process each time is an outcome."""
        from optuna.trial import TrialState

        trial = self._trials()[number]
        again = trial.user_attrs.get(_AGAIN)
        identity = trial._trial_id  # Optuna tells a trial of another process by its number only, its attributes by this
        if again is None:
            self.study._storage.set_trial_user_attr(identity, _LOST, True)
            if trial.params:
                self.study.enqueue_trial(trial.params, user_attrs={_AGAIN: number})
        else:
            told = {"state": "crashed", "reason": "its process was gone twice", "seconds": 0.0, "notes": {}}
            self.study._storage.set_trial_user_attr(identity, _OUTCOME, told)
        self.study.tell(number, state=TrialState.FAIL)


def seed_of(seed: int, number: int) -> int:
    """Return a trial's own seed, below 2**31."""
    return zlib.crc32(f"{seed} {number}".encode()) & 0x7FFFFFFF


def _counts(trial: FrozenTrial) -> bool:
    return trial.state.name == "RUNNING" or (trial.state.is_finished() and not _lost(trial))


def _lost(trial: FrozenTrial) -> bool:
    return bool(trial.user_attrs.get(_LOST))


def _outcome(trial: FrozenTrial) -> Outcome:
    told = trial.user_attrs.get(_OUTCOME, {"state": "failed", "reason": "", "seconds": 0.0, "notes": {}})
    values = tuple(trial.values or ()) if told["state"] == "complete" else ()
    return Outcome(
        trial.number,
        trial.params,
        told["state"],
        values,
        told["reason"],
        told["seconds"],
        trial.constraints,
        told["notes"],
    )
