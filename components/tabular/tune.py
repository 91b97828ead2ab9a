"""HYPERPARAMETER_TUNING: algorithms and their hyperparameters under a budget of trials and seconds (Optuna)."""

import json
import logging
import time
from typing import Any

import polars as pl

from components.tabular.train import Trained, learn, publish, with_objective
from fleetml.component import Artifact
from fleetml.data.schema import aside
from fleetml.errors import InvalidData, InvalidParameter
from fleetml.learn import requested_space
from fleetml.learn.algorithms import ALGORITHMS, METRICS
from fleetml.learn.leaderboard import SearchFailed
from fleetml.learn.search import check_budget
from fleetml.learn.tables import fit, scores, table
from fleetml.learn.tables.table import Table

log = logging.getLogger(__name__)


def tune(
    dataset: Artifact,
    model: Artifact,
    leaderboard: Artifact,
    metrics: Artifact,
    algorithm: str = "",
    objective: str = "",
    search_space: dict[str, Any] | None = None,
    max_trials: int = 20,
    timeout_seconds: int = 120,
    objective_metric: str = "",
    seed: int = 0,
    threads: int = 1,
) -> None:
    """Write the best graph by `objective_metric` on the validation rows, and every trial as a Parquet row.

    Without an `algorithm` all are tried; a `search_space` is that of one algorithm, else each algorithm's own.
    Raises InvalidParameter, InvalidData, SearchFailed when nothing could be trained.
    """
    check_budget(max_trials, timeout_seconds)
    wanted = _space(algorithm, search_space or {})
    given = with_objective(table.read(dataset.path), objective)
    metric = scores.metric_of(given.recipe.objective, objective_metric)
    names = [algorithm] if algorithm else list(ALGORITHMS)
    study = requested_space.study(METRICS[metric], seed, [] if wanted else _starts(names))
    search = _Search(given, metric, seed, threads)
    end = time.monotonic() + timeout_seconds
    for number in range(max_trials):
        if number and time.monotonic() > end:
            break
        trial = study.ask()
        score = search.attempt(number, *_suggest(trial, names, wanted))
        study.tell(trial, score, state=None if score is not None else _failed())
    best = search.found()
    publish(best, model)
    with aside(leaderboard.path) as temporary:
        pl.DataFrame(search.outcomes, infer_schema_length=None).write_parquet(temporary, compression="zstd")
    metrics.log(
        **{metric: round(best.validation[metric], 4)},
        algorithm=best.about.algorithm,
        trials=len(search.outcomes),
        failed=sum(bool(outcome["reason"]) for outcome in search.outcomes),
    )


class _Search:
    """The trials so far and the best of them."""

    def __init__(self, given: Table, metric: str, seed: int, threads: int) -> None:
        self.given, self.metric, self.seed, self.threads = given, metric, seed, threads
        self.outcomes: list[dict[str, Any]] = []
        self.best: Trained | None = None

    def attempt(self, number: int, algorithm: str, chosen: dict[str, Any]) -> float | None:
        """Train one point of the space, whatever becomes of it; return its score, None where it failed."""
        outcome = {"trial": number, "algorithm": algorithm, "hyperparameters": json.dumps(chosen, sort_keys=True)}
        try:
            made = learn(self.given, algorithm, fit.checked(algorithm, chosen), self.seed, self.threads)
            score = made.validation[self.metric]
        except (InvalidData, InvalidParameter):
            raise
        except Exception as error:  # one bad point of the space must not end the search
            self.outcomes.append({**outcome, self.metric: None, "reason": f"{type(error).__name__}: {error}"})
            log.info("trial %d: %s failed: %s", number, algorithm, error)
            return None
        self.outcomes.append({**outcome, self.metric: score, "reason": ""})
        if self.best is None or scores.better(self.metric, score, self.best.validation[self.metric]):
            self.best = made
        best = self.best.validation[self.metric]
        log.info("trial %d: %s, %s %.4f; best %.4f", number, algorithm, self.metric, score, best)
        return score

    def found(self) -> Trained:
        """Return the best. Raises SearchFailed where every trial failed."""
        if self.best is None:
            reason = self.outcomes[-1]["reason"]
            raise SearchFailed(
                f"a search must train something, every trial failed, the last: {reason}; narrow the space"
            )
        return self.best


def _space(algorithm: str, search_space: dict[str, Any]) -> dict[str, requested_space.Dimension]:
    """Return the dimensions that were asked for. Raises InvalidParameter for those that `algorithm` has not."""
    if search_space and not algorithm:
        raise InvalidParameter("a search_space is that of one algorithm; give algorithm too")
    wanted = requested_space.parse(search_space, "search_space")
    for name, dimension in wanted.items():
        for value in dimension.ends():
            fit.checked(algorithm, {name: value})
    return wanted


def _suggest(trial: Any, names: list[str], wanted: dict[str, requested_space.Dimension]) -> tuple[str, dict[str, Any]]:
    """Return a trial's algorithm and hyperparameters: of the space that was asked for, else of the algorithm's own."""
    name = trial.suggest_categorical("algorithm", names)
    if wanted:
        return name, {key: dimension.suggest(trial, key) for key, dimension in wanted.items()}
    return name, {key: field.suggest(trial, f"{name}.{key}") for key, field in ALGORITHMS[name].space.items()}


def _starts(names: list[str]) -> list[dict[str, Any]]:
    """The good default of each algorithm is tried first."""
    return [
        {"algorithm": name, **{f"{name}.{key}": field.default for key, field in ALGORITHMS[name].space.items()}}
        for name in names
    ]


def _failed() -> Any:
    import optuna

    return optuna.trial.TrialState.FAIL
