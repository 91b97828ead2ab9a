"""What a study has seen, in the order it was asked, and how good each trial stands among the others."""

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

if TYPE_CHECKING:
    from optuna import Study

Floats = npt.NDArray[np.float64]


def finished(study: "Study") -> list[FrozenTrial]:
    """Return the trials that tell something, by number: complete ones, and pruned ones, infeasible included."""
    trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))
    return sorted(trials, key=lambda trial: trial.number)


def standing(study: "Study", trials: list[FrozenTrial]) -> Floats:
    """Return, for each trial, how many of the others are better: 0 is the best.

    A feasible trial is better than an infeasible one, of which the smaller violation is better; a complete one is
    better than one that was pruned, of which the last report counts. With several objectives better is dominating.
    """
    classes = np.array([_class(trial) for trial in trials]).reshape(len(trials), 2)
    values = np.array([_values(study, trial) for trial in trials]).reshape(len(trials), len(study.directions))
    lower = (classes[:, None, 0] < classes[None, :, 0]) | (
        (classes[:, None, 0] == classes[None, :, 0]) & (classes[:, None, 1] < classes[None, :, 1])
    )
    equal = (classes[:, None, :] == classes[None, :, :]).all(axis=2)
    no_worse = (values[:, None, :] <= values[None, :, :]).all(axis=2)
    dominates = no_worse & (values[:, None, :] < values[None, :, :]).any(axis=2)
    return (lower | (equal & dominates)).sum(axis=0).astype(np.float64)


def _class(trial: FrozenTrial) -> tuple[int, float]:
    """Complete, pruned or infeasible, and by how much."""
    violation = sum(max(0.0, value) for value in trial.constraints.values())
    if violation > 0:
        return 2, violation
    return int(trial.state is not TrialState.COMPLETE), 0.0


def _values(study: "Study", trial: FrozenTrial) -> list[float]:
    """Return the objectives, all to be minimised; infinity for what was never told."""
    told = trial.values if trial.values is not None else list(trial.intermediate_values.values())[-1:]
    said = [*told, *[np.nan] * (len(study.directions) - len(told))]
    signed = [
        -value if way is StudyDirection.MAXIMIZE else value for value, way in zip(said, study.directions, strict=True)
    ]
    return [np.inf if np.isnan(value) else value for value in signed]
