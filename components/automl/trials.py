"""One configuration, fitted fold by fold: what it says of rows it had not seen, and the models that said it."""

import pickle
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from components.automl import portfolio
from components.automl.given import Problem
from components.automl.losses import Said
from components.automl.validation import Fold, Places
from fleetml.learn.study.trial import Pruned, Trial
from fleetml.learn.tables import fit

# Megabytes of a graph, and seconds its conversion takes, for a megabyte of the pickled model (measured: 0.4-0.65; boosting 0.1-0.16 s,
# forests 0.03 s; twice that where the machine is busy)
GRAPH_SHARE, SECONDS_PER_MB = 0.66, {"lightgbm": 0.3, "xgboost": 0.3, "random_forest": 0.06, "extra_trees": 0.06}


@dataclass(frozen=True)
class Evaluated:
    """said [N, C]: NaN of rows that were never held; the models of the folds; `curve`: the loss after each fold."""

    algorithm: str
    hyperparameters: dict[str, Any]
    said: Said
    models: tuple[Any, ...]
    seconds: float
    curve: tuple[float, ...]
    pickled_mb: float  # of one model

    @property
    def graph_mb(self) -> float:
        """The size of one model's graph, by its pickle's."""
        return self.pickled_mb * GRAPH_SHARE

    @property
    def convert_seconds(self) -> float:
        """What the conversion of one model takes, by its pickle's size."""
        return (0.6 if self.algorithm == "net" else 0.1) + self.pickled_mb * SECONDS_PER_MB.get(self.algorithm, 0.2)


def objective(problem: Problem) -> Callable[[Trial], float]:
    """Return the objective of the study: a point of `portfolio.SPACES` to its loss; keeps an `Evaluated`."""
    from fleetml.learn.study.space import in_family

    def run(trial: Trial) -> float:
        family, point = in_family(trial.params)
        chosen = portfolio.hyperparameters(family, point, len(problem.target), problem.size_limit_mb)
        made = evaluate(problem, family, chosen, trial.report, trial.deadline)
        trial.note("ended", time.monotonic())
        trial.keep(pickle.dumps(made, protocol=pickle.HIGHEST_PROTOCOL))
        return made.curve[-1]

    return run


def evaluate(
    problem: Problem, algorithm: str, chosen: dict[str, Any], report: Callable[[int, float], None], deadline: float
) -> Evaluated:
    """Fit a configuration fold by fold. Raises Pruned where the folds left do not fit before `deadline` [monotonic s]."""
    began = time.monotonic()
    total, times = np.zeros((len(problem.target), problem.classes)), np.zeros(len(problem.target))
    models, curve, pickled = [], [], 0.0
    folds = problem.validation.folds
    for number, fold in enumerate(folds):
        model, said = _fold(problem, algorithm, chosen, fold, number)
        total[fold.held] += said
        times[fold.held] += 1
        seen = times > 0
        curve.append(problem.loss(problem.target[seen], total[seen] / times[seen, None]))
        if number < len(problem.validation.once):
            models.append(model)
        if not number:
            pickled = len(pickle.dumps(model)) / 1e6
            if pickled * GRAPH_SHARE > problem.size_limit_mb:
                raise Pruned(
                    f"its graph would take {pickled * GRAPH_SHARE:.1f} MB, {problem.size_limit_mb:g} are allowed"
                )
        if number + 1 < len(folds):
            spent = time.monotonic() - began
            least = len(problem.validation.once)  # a repetition may stay undone
            needed = spent / (number + 1) * max(1, least - number - 1)
            if time.monotonic() + needed > deadline:
                if number + 1 >= least:
                    break
                raise Pruned(f"{least} folds need {spent + needed:.1f} s, more than was left")
            report(number, problem.loss(problem.target[fold.held], said))
    with np.errstate(invalid="ignore"):
        mean = total / times[:, None]
    return Evaluated(algorithm, chosen, mean, tuple(models), time.monotonic() - began, tuple(curve), pickled)


def _fold(problem: Problem, algorithm: str, chosen: dict[str, Any], fold: Fold, number: int) -> tuple[Any, Said]:
    rows, target = problem.rows(algorithm), problem.target
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = fit.fit(algorithm, _task(problem, rows, target, fold.train, fold.held, problem.seed + number), chosen)
        return model, fit.outputs(model, rows[fold.held], problem.classifies).astype(np.float64)


def _task(
    problem: Problem, rows: fit.Floats, target: np.ndarray[Any, Any], train: Places, held: Places, seed: int
) -> fit.Task:
    return fit.Task(problem.about.objective, rows[train], target[train], rows[held], target[held], seed, 1)


def refitted(problem: Problem, made: Evaluated) -> Any:
    """Return the configuration fitted to all rows; what stops early, for 1.1 times the rounds it took in the folds."""
    rows, every = problem.rows(made.algorithm), np.arange(len(problem.target))
    chosen = {**made.hyperparameters, "early_stopping": False}
    if made.algorithm in portfolio.BOOSTED:
        chosen["n_estimators"] = max(1, round(1.1 * float(np.mean([_rounds(model) for model in made.models]))))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return fit.fit(made.algorithm, _task(problem, rows, problem.target, every, every, problem.seed), chosen)


def _rounds(model: Any) -> int:
    best = getattr(model, "best_iteration_", None)  # LightGBM: a count; XGBoost: a place from 0
    return int(best or model.n_estimators) if best is not None else int(model.best_iteration) + 1
