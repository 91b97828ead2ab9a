"""HYPERPARAMETER_TUNING: algorithms and their hyperparameters under a budget of trials and seconds (Optuna)."""

import importlib
import json
import logging
import pickle
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl

from components.tabular.train import Lesson, Trained, finished, lesson, publish, with_objective
from fleetml.component import Artifact
from fleetml.data.schema import aside
from fleetml.errors import InvalidParameter
from fleetml.learn import requested_space, search_space
from fleetml.learn.algorithms import ALGORITHMS, METRICS
from fleetml.learn.leaderboard import SearchFailed
from fleetml.learn.search import check_budget
from fleetml.learn.study import space as spaces
from fleetml.learn.study.settings import StudySettings
from fleetml.learn.tables import fit, scores, table

if TYPE_CHECKING:
    from fleetml.learn.study.loop import StudyResult
    from fleetml.learn.study.trial import Outcome, Trial

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
    trial_seconds: int = 0,
    memory_mb: int = 4096,
) -> None:
    """Write the best graph by `objective_metric` on the validation rows, and every trial as a Parquet row.

    Without an `algorithm` all are tried; a `search_space` is that of one algorithm, else each algorithm's own. A trial has a
    process of its own, which may take `trial_seconds` (0: all that is left of `timeout_seconds`) and `memory_mb` (0: no limit): one that
    crashes, hangs or takes more is a row, and the search goes on. Raises InvalidParameter, InvalidData, SearchFailed when nothing
    could be trained.
    """
    check_budget(max_trials, timeout_seconds)
    searched = _searched(algorithm, _space(algorithm, search_space or {}))
    given = with_objective(table.read(dataset.path), objective)
    metric = scores.metric_of(given.recipe.objective, objective_metric)
    settings = StudySettings(
        trials=max_trials,
        seconds=timeout_seconds,
        sampler="tpe",
        directions=("maximize" if METRICS[metric] else "minimize",),
        seed=seed,
        trial_seconds=trial_seconds or timeout_seconds,
        memory_mb=memory_mb,
    )
    from fleetml.learn.study.loop import run

    it = lesson(given, seed, threads)
    _load(algorithm)
    found = run(_objective(it, searched, metric), searched.space, settings, searched.starts)
    rows = {each.number: _row(each, searched, metric) for each in found.outcomes}
    best = _best(it, found, searched, metric, rows)
    columns = {
        "trial": pl.Int64,
        "algorithm": pl.String,
        "hyperparameters": pl.String,
        metric: pl.Float64,
        "reason": pl.String,
    }
    with aside(leaderboard.path) as temporary:
        pl.DataFrame(list(rows.values()), columns).write_parquet(temporary, compression="zstd")
    if best is None:
        raise SearchFailed(
            f"a search must train something, every trial failed, the last: {rows[max(rows)]['reason']}; narrow the space, or raise "
            "timeout_seconds, trial_seconds or memory_mb"
        )
    publish(best, model)
    metrics.log(
        **{metric: round(best.validation[metric], 4)},
        algorithm=best.about.algorithm,
        trials=len(rows),
        failed=sum(bool(row["reason"]) for row in rows.values()),
    )


def _load(algorithm: str) -> None:
    """Import what trials need before they are forked: each of them would take seconds for it."""
    for name in ("sklearn.ensemble", "sklearn.linear_model", "sklearn.metrics", "sklearn.neural_network"):
        importlib.import_module(name)
    for name in {"lightgbm", "xgboost"} & {algorithm or "lightgbm", algorithm or "xgboost"}:
        importlib.import_module(name)


@dataclass(frozen=True)
class _Searched:
    """The space, the points that are tried first, and what a point means: an algorithm and its hyperparameters."""

    space: spaces.Space
    starts: Sequence[Mapping[str, Any]]
    point: Callable[[Mapping[str, Any]], tuple[str, dict[str, Any]]]


def _searched(algorithm: str, wanted: Mapping[str, requested_space.Dimension]) -> _Searched:
    """Return the space that was asked for, else that of the algorithm, else those of all; good defaults are tried first."""
    if wanted:
        return _Searched(spaces.of_dimensions(wanted), (), lambda params: (algorithm, spaces.values(wanted, params)))
    families = {name: ALGORITHMS[name].space for name in ([algorithm] if algorithm else ALGORITHMS)}
    return _Searched(spaces.of_ranges(families), search_space.starts(families), spaces.in_family)


def _objective(it: Lesson, searched: _Searched, metric: str) -> Callable[["Trial"], float]:
    """Return what a trial does: fit a point, keep the estimator, tell its figure."""

    def fitted(trial: "Trial") -> float:
        name, chosen = searched.point(trial.params)
        estimator = fit.fit(name, it.task, fit.checked(name, chosen))
        trial.keep(pickle.dumps(estimator))
        return it.validation(estimator)[metric]

    return fitted


def _row(told: "Outcome", searched: _Searched, metric: str) -> dict[str, Any]:
    """Return a trial's line of the leaderboard."""
    name, chosen = searched.point(told.params)
    found = {"trial": told.number, "algorithm": name, "hyperparameters": json.dumps(chosen, sort_keys=True)}
    return {**found, metric: told.value if told.values else None, "reason": told.reason}


def _best(
    it: Lesson, found: "StudyResult", searched: _Searched, metric: str, rows: dict[int, dict[str, Any]]
) -> Trained | None:
    """Return the best trial as a graph; one whose graph is wrong is a failed row, and the next one's turn comes."""
    sign = -1 if METRICS[metric] else 1
    for each in sorted((each for each in found.outcomes if each.values), key=lambda each: sign * each.value):
        name, chosen = searched.point(each.params)
        row = rows[each.number]
        try:
            estimator = pickle.loads(found.kept[each.number].read_bytes())  # noqa: S301 - our own trial wrote it
            made = finished(it, name, fit.checked(name, chosen), estimator)
        except Exception as error:  # one bad graph must not end the search
            log.info("trial %d: %s has no graph: %s", each.number, name, error)
            row.update({metric: None, "reason": f"{type(error).__name__}: {error}"})
        else:
            row[metric] = made.validation[metric]
            return made
    return None


def _space(algorithm: str, search_space: dict[str, Any]) -> dict[str, requested_space.Dimension]:
    """Return the dimensions that were asked for. Raises InvalidParameter for those that `algorithm` has not."""
    if search_space and not algorithm:
        raise InvalidParameter("a search_space is that of one algorithm; give algorithm too")
    wanted = requested_space.parse(search_space, "search_space")
    for name, dimension in wanted.items():
        for value in dimension.ends():
            fit.checked(algorithm, {name: value})
    return wanted
