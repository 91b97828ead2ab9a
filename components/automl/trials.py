"""One configuration, fitted fold by fold: what it says of rows it had not seen, and the models that said it."""

import pickle
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from components.automl import portfolio, race, stopping
from components.automl.given import Problem
from components.automl.losses import Said
from components.automl.stopping import Watched
from components.automl.validation import Fold
from fleetml.atomic import aside
from fleetml.learn.study.trial import Pruned, Trial
from fleetml.learn.tables import fit

# Megabytes of a graph, and seconds its conversion takes, for a megabyte of the pickled model (measured: 0.4-0.65; boosting 0.1-0.16 s,
# forests 0.03 s; twice that where the machine is busy)
GRAPH_SHARE, SECONDS_PER_MB = 0.66, {"lightgbm": 0.3, "xgboost": 0.3, "random_forest": 0.06, "extra_trees": 0.06}


@dataclass(frozen=True)
class Evaluated:
    """said [N, C]: NaN of rows that were never held; `curve`: the loss after each fold, the last one the trial is judged by.

    `count` models of folds; `models` are they, () where they lie in the file alone. `rounds`: the mean of what is fitted in rounds.
    """

    algorithm: str
    hyperparameters: dict[str, Any]
    said: Said
    models: tuple[Any, ...]
    seconds: float
    curve: tuple[float, ...]
    pickled_mb: float  # of one model
    count: int
    rounds: float = 0.0
    file: Path | None = None

    @property
    def graph_mb(self) -> float:
        """The size of one model's graph, by its pickle's."""
        return self.pickled_mb * GRAPH_SHARE

    @property
    def convert_seconds(self) -> float:
        """What the conversion of one model takes, by its pickle's size."""
        return (0.6 if self.algorithm == "net" else 0.1) + self.pickled_mb * SECONDS_PER_MB.get(self.algorithm, 0.2)

    def model(self, number: int) -> Any:
        """Return the model of a fold, from the file where it lies there alone: all models of a study take more memory than one trial."""
        return self.models[number] if self.models else _read(self.file, number + 1)


def write(made: Evaluated, file: Path) -> None:
    """Write a trial: first what is chosen by, then each model, to be read one by one."""
    with aside(file) as temporary, temporary.open("wb") as stream:
        for part in (replace(made, models=()), *made.models):
            pickle.dump(part, stream, protocol=pickle.HIGHEST_PROTOCOL)


def read(file: Path) -> Evaluated:
    """Return a trial whose models stay in its file."""
    return replace(_read(file, 0), file=file)


def _read(file: Path | None, place: int) -> Any:
    """Return what `write` wrote at a place of the file, 0: what is chosen by; one thing at a time is in memory."""
    assert file is not None  # noqa: S101 - a trial has its models or their file
    with file.open("rb") as stream:
        for _ in range(place):
            pickle.load(stream)  # noqa: S301 - our own trials wrote it
        return pickle.load(stream)  # noqa: S301


def objective(problem: Problem) -> Callable[[Trial], float]:
    """Return the objective of the study: a point of `portfolio.SPACES` to its loss; keeps an `Evaluated`.

    Raises Pruned after a first fold that is clearly behind (`race`).
    """
    from fleetml.learn.study.space import in_family

    def run(trial: Trial) -> float:
        family, point = in_family(trial.params)
        size, objective = problem.size_limit_mb, problem.about.objective
        chosen = portfolio.hyperparameters(family, point, len(problem.target), size, objective)

        entered: list[race.First] = []

        def begun(said: Said) -> None:
            held = problem.validation.folds[0].held
            entered.append(race.first(family, problem.target[held], said, problem.loss))
            if why := race.behind(entered[0], trial.kept_at.parent, len(held)):
                raise Pruned(why)

        made = evaluate(problem, family, chosen, trial.report, trial.deadline, begun)
        trial.note("ended", time.monotonic())
        write(made, trial.kept_at)
        for mine in entered:  # only now: one that never ends must not end others
            race.enter(mine, trial.kept_at.parent, trial.number)
        return made.curve[-1]

    return run


def evaluate(
    problem: Problem,
    algorithm: str,
    chosen: dict[str, Any],
    report: Callable[[int, float], None],
    deadline: float,
    begun: Callable[[Said], None] = lambda said: None,
) -> Evaluated:
    """Fit a configuration fold by fold; `begun` is told what the first said of its held rows [H, C].

    Raises Pruned where the folds left do not fit before `deadline` [monotonic s].
    """
    began = time.monotonic()
    folds, least = problem.validation.folds, len(problem.validation.once)
    done: list[Watched] = []
    models, losses = [], []
    for number, fold in enumerate(folds):
        model, watched = _fold(problem, algorithm, chosen, fold, number)
        done.append(watched)
        losses.append(problem.loss(problem.target[fold.held], watched.said))
        if number < least:
            models.append(model)
        if not number:
            _fits(model, problem.size_limit_mb)
        if number + 1 < len(folds):
            if not _time(number + 1, least, time.monotonic() - began, deadline):
                break
            report(number, losses[-1])
            if not number:
                begun(watched.said)
    said = _mean(problem, done)
    seen = np.isfinite(said).all(axis=1)
    losses[-1] = problem.loss(problem.target[seen], said[seen])
    spent, size = time.monotonic() - began, len(pickle.dumps(models[0])) / 1e6
    rounds = float(np.mean([_rounds(model) for model in models])) if algorithm in portfolio.BOOSTED else 0.0
    return Evaluated(algorithm, chosen, said, tuple(models), spent, tuple(losses), size, len(models), rounds)


def _fits(model: Any, size_limit_mb: float) -> None:
    size = len(pickle.dumps(model)) / 1e6 * GRAPH_SHARE
    if size > size_limit_mb:
        raise Pruned(f"its graph would take {size:.1f} MB, {size_limit_mb:g} are allowed")


def _time(done: int, least: int, spent: float, deadline: float) -> bool:
    """Say whether another fold, and the others of the first repetition, fit into the time; raises Pruned where these do not."""
    needed = spent / done * max(1, least - done)
    if time.monotonic() + needed <= deadline:
        return True
    if done < least:
        raise Pruned(f"{least} folds need {spent + needed:.1f} s, more than was left")
    return False


def _mean(problem: Problem, done: list[Watched]) -> Said:
    """Return what is said [N, C] of rows by models that had not seen them, the mean over repetitions; NaN of the others."""
    least = len(problem.validation.once)
    if (
        len(done) == least + 1 and done[least].after is not None
    ):  # no other fold of its repetition tells it when to stop
        done = done[:least]
    total, times = np.zeros((len(problem.target), problem.classes)), np.zeros(len(problem.target))
    judged = [*stopping.judged(done[:least]), *stopping.judged(done[least:])]
    for fold, said in zip(problem.validation.folds, judged, strict=False):
        total[fold.held] += said
        times[fold.held] += 1
    with np.errstate(invalid="ignore"):
        return np.asarray(total / times[:, None])


def _fold(problem: Problem, algorithm: str, chosen: dict[str, Any], fold: Fold, number: int) -> tuple[Any, Watched]:
    target, steps, train, stop = problem.target, list[fit.Step](), fold.train, fold.held
    if alone := len(problem.validation.folds) == 1 and bool(chosen.get("early_stopping")):
        known = problem.validation
        train, kept = stopping.kept_back(fold.train, target, problem.classifies, known.together, known.ordered)
        alone, stop = len(kept) > 0, kept if len(kept) else fold.held
    rows = [problem.rows(algorithm, number, places) for places in (train, stop)]
    held = problem.rows(algorithm, number, fold.held) if alone else rows[1]
    task = fit.Task(
        problem.about.objective, rows[0], target[train], rows[1], target[stop], problem.seed + number, 1, steps
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = fit.fit(algorithm, task, chosen)
        if alone:
            return model, Watched(fit.outputs(model, held, problem.classifies).astype(np.float64))
        return model, stopping.watched(algorithm, model, steps, held, problem.classifies)


def refitted(problem: Problem, made: Evaluated, trees: float = 1.0) -> Any:
    """Return the configuration fitted to all rows; what stops early, for 1.1 times the rounds it took in the folds.

    `trees`: the share of its trees that a forest has.
    """
    rows, target = problem.rows(made.algorithm), problem.target
    chosen = {**made.hyperparameters, "early_stopping": False}
    if made.algorithm in portfolio.BOOSTED:
        chosen["n_estimators"] = max(1, round(1.1 * made.rounds))
    elif made.algorithm in portfolio.FORESTS:
        chosen["n_estimators"] = max(1, round(trees * chosen["n_estimators"]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        task = fit.Task(problem.about.objective, rows, target, rows, target, problem.seed, 1)
        return fit.fit(made.algorithm, task, chosen)


def _rounds(model: Any) -> int:
    best = getattr(model, "best_iteration_", None)  # LightGBM: a count; XGBoost: a place from 0
    return int(best or model.n_estimators) if best is not None else int(model.best_iteration) + 1
