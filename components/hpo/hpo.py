"""The hyperparameter search: the better of two models, tuned around the point where it was found."""

import json
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict

from fleetml import atomic
from fleetml.component import Artifact
from fleetml.errors import InvalidParameter
from fleetml.learn import ensemble, graph, quantile_head, search, search_space, windows
from fleetml.learn import leaderboard as boards
from fleetml.learn.leaderboard import Outcome, Result
from fleetml.learn.limits import Limits, Price, price_of
from fleetml.learn.search import Candidate, Report, TooSlow, Trainer
from fleetml.learn.search_space import Hyperparameters, Space
from fleetml.learn.study import storage as studies
from fleetml.learn.windows import Windows

log = logging.getLogger(__name__)


def hpo(
    train: Artifact,
    val: Artifact,
    automl_model: Artifact,
    nas_model: Artifact,
    trials: int,
    timeout_seconds: float,
    latency_limit_ms: float,
    seed: int,
    model: Artifact,
    leaderboard: Artifact,
    metrics: Artifact,
    report: Artifact,
    sampler: str = "auto",
    pruner: str = "median",
    workers: int = 1,
    storage: str = "",
    workspace: str = "",
    patience: int = 0,
    counted: bool = False,
    max_operations: int = 0,
    memory_mb: int = 4096,
    automl_single: Artifact | None = None,
) -> None:
    """Tune the model with the lower validation MASE inside the latency limit; never end with a worse one.

    A model of a family without hyperparameters to search (the untrained mixture, an ensemble) is handed on as it is where nothing tuned is
    better: the other one is tuned. Where AutoML's is an ensemble, the best of its trials alone, `automl_single`, stands in its place for that. `report` gets the page of the study. `workers` trials run at a time, each in a process of its own
    (`study.limits`): one that crashes, hangs, or takes more than `memory_mb` (0: no limit) is a line of the leaderboard, and the search
    goes on. With a `storage` (the path of a journal, or postgresql://…) a search that was killed goes on; without
    one it is a journal in `workspace`, the folder that the steps of a run share, if that is given. `patience`: trials without a better
    one that end the search, 0: none. `counted`: no clock decides, so the same seed and trials give the same model (with one worker);
    latency decides nothing but whether the model is called a best effort, `max_operations` (FLOPs of one forecast, 0: none) is the
    limit in its place, and `timeout_seconds` ends the search between trials only. Raises InvalidParameter for an empty budget, an unknown sampler or pruner,
    or `max_operations` of a search that is not counted. Where both models exceed the limit, the cheaper is tuned, and is no
    candidate itself: without one inside the limit the nearest to it is a best effort.
    """
    search.check_budget(trials, timeout_seconds, latency_limit_ms)
    limits = _limits(latency_limit_ms, counted, max_operations)
    training, validation = windows.load(train.path), search.require_scored(windows.load(val.path), "val")
    models = {"automl": automl_model, "nas": nas_model}
    if automl_single and automl_model.metadata.get("family") == ensemble.FAMILY:
        models["single"] = automl_single
    found = judged(models, validation, limits)
    fixed = [each for each in found if each.family not in _families()]
    result = Result()
    if tunable := [each for each in found if each not in fixed]:
        tuned = better(tunable, limits)
        log.info("tuning %s, MASE %.4f", tuned.family, tuned.validation_mase)
        trainer = Tuner(tuned, _trainer(tuned.family, training, validation, seed, limits.latency_ms))
        result = search.search(
            trainer,
            trainer.families,
            trials,
            timeout_seconds,
            seed,
            sampler,
            pruner,
            workers,
            studies.place(storage, workspace),
            report.path,
            studies.study_name("hpo", (train, val, *models.values()), **asdict(limits), seed=seed),
            patience,
            counted,
            max_operations,
            memory_mb,
        )
    else:
        page = "<!doctype html><title>Study</title><p>No model has hyperparameters to search.\n"
        atomic.write_text(report.path, page)
    _join(result, fixed, limits)
    met, figures = _told(result, better(found, limits), limits, latency_limit_ms)
    boards.publish(result, model, leaderboard, metrics, met, validation, **figures)


def _told(
    result: Result, incumbent: Candidate, limits: Limits, latency_limit_ms: float
) -> tuple[bool, dict[str, float]]:
    """Return whether the best is inside the limits, and what it gained on the model that was there."""
    best = result.incumbent()
    met = not limits.reason(_price(best, limits)) and best.latency_ms <= latency_limit_ms
    gain = 1 - best.validation_mase / incumbent.validation_mase
    return met, {"incumbent_mase": round(incumbent.validation_mase, 4), "gain": gain}


def _limits(latency_limit_ms: float, counted: bool, max_operations: int) -> Limits:
    if max_operations < 0 or (max_operations and not counted):
        raise InvalidParameter(
            f"max_operations of hpo must be 0 (no limit), or positive in a counted search, got {max_operations}; "
            "correct it, or set counted"
        )
    return Limits(operations=max_operations or math.inf) if counted else Limits(latency_ms=float(latency_limit_ms))


def _price(candidate: Candidate, limits: Limits) -> Price:
    """Return what a candidate costs; its operations are counted where they are limited."""
    if math.isinf(limits.operations):
        return Price(candidate.latency_ms, 0, 0)
    return price_of(candidate.graph, candidate.latency_ms)


def judged(models: Mapping[str, Artifact], val: Windows, limits: Limits) -> list[Candidate]:
    """Return the models, judged again on `val` as the graphs they are, without their quantiles, those over the limit too."""
    points = {name: quantile_head.taken_off(graph.load(each.path)) for name, each in models.items()}
    found = {name: search.judged(each, val, limits.latency_ms) for name, each in points.items()}
    for name, each in found.items():
        if each.latency_ms > limits.latency_ms:
            log.info("%s: %s", name, TooSlow(each.latency_ms, limits.latency_ms))
    return list(found.values())


def better(found: Sequence[Candidate], limits: Limits) -> Candidate:
    """Return the best of the candidates inside the limits, else the nearest to them."""
    inside = [each for each in found if not limits.reason(_price(each, limits))]
    if not inside:
        return min(found, key=lambda each: sum(limits.excess(_price(each, limits)).values()))
    return min(inside, key=lambda each: each.validation_mase)


def _join(result: Result, fixed: Sequence[Candidate], limits: Limits) -> None:
    """Let models that cannot be tuned compete with what was found."""
    for each in fixed:
        result.outcomes.append(_kept(each, len(result.outcomes), limits))
    if competing := [each for each in (result.best, *fixed) if each]:
        result.best = better(competing, limits)


def _kept(fixed: Candidate, trial: int, limits: Limits) -> Outcome:
    """Return the line of the leaderboard of a model that is handed on as it is."""
    over = limits.reason(_price(fixed, limits))
    reason = over or f"kept as it is: the family {fixed.family} has no hyperparameters to search"
    state, score = ("infeasible", math.nan) if over else ("trained", fixed.validation_mase)
    found = json.dumps(fixed.hyperparameters)
    return Outcome(trial, fixed.family, found, state, score, 0.0, fixed.size_bytes, fixed.latency_ms, reason)


class Tuner:
    """A `search.Trainer` around a trained candidate, which stands for its own point instead of being trained again."""

    def __init__(self, incumbent: Candidate, trainer: Trainer) -> None:
        self.incumbent, self.trainer = incumbent, trainer
        space = search_space.around(trainer.families[incumbent.family], incumbent.hyperparameters)
        self.families: Mapping[str, Space] = {incumbent.family: space}

    @property
    def limit(self) -> float:
        """The most latency [ms] of what is trained, and of the candidate."""
        return self.trainer.limit

    @limit.setter
    def limit(self, limit: float) -> None:
        self.trainer.limit = limit

    def train(self, family: str, hyperparameters: Hyperparameters, deadline: float, report: Report) -> Candidate:
        if hyperparameters == search_space.defaults(self.families[family]):
            if self.incumbent.latency_ms > self.limit:
                raise TooSlow(self.incumbent.latency_ms, self.limit, self.incumbent.validation_mase)
            return self.incumbent
        return self.trainer.train(family, hyperparameters, deadline, report)


def _families() -> set[str]:
    """Return the families that have hyperparameters to search."""
    from fleetml.learn import architectures, tabular

    return {*architectures.FAMILIES, *tabular.FAMILIES}


def _trainer(family: str, train: Windows, val: Windows, seed: int, latency_limit_ms: float) -> Trainer:
    """Return the trainer that knows a family; torch and the tabular libraries load only where they are needed."""
    from fleetml.learn import tabular

    if family in tabular.FAMILIES:
        from fleetml.learn.tabular_trainer import TabularTrainer

        return TabularTrainer(train, val, seed, latency_limit_ms)
    from fleetml.learn.neural_trainer import NeuralTrainer

    return NeuralTrainer(train, val, seed, latency_limit_ms)
