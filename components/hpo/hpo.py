"""The hyperparameter search: the better of two models, tuned around the point where it was found."""

import logging
from collections.abc import Mapping

from fleetml.component import Artifact
from fleetml.learn import graph, search, search_space, windows
from fleetml.learn import leaderboard as boards
from fleetml.learn.search import Candidate, Report, TooSlow, Trainer
from fleetml.learn.search_space import Hyperparameters, Space
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
) -> None:
    """Tune the model with the lower validation MASE inside the latency limit; never end with a worse one.

    `report` gets the page of the study. `workers` trials run at a time, each in a process of its own where there are several; with a `storage` (the path of a
    journal, or postgresql://…) a search that was killed goes on. Raises InvalidParameter for an empty budget or an unknown
    sampler or pruner. Where both models exceed the limit, the faster is tuned, and is no candidate itself: without one inside the
    limit the nearest to it is a best effort.
    """
    search.check_budget(trials, timeout_seconds, latency_limit_ms)
    validation = search.require_scored(windows.load(val.path), "val")
    incumbent = better({"automl": automl_model, "nas": nas_model}, validation, latency_limit_ms)
    trainer = Tuner(incumbent, _trainer(incumbent.family, windows.load(train.path), validation, seed, latency_limit_ms))
    inputs = (train, val, automl_model, nas_model)
    name = search.study_name("hpo", inputs, latency_limit_ms=float(latency_limit_ms), seed=seed)
    result = search.search(
        trainer, trainer.families, trials, timeout_seconds, seed, sampler, pruner, workers, storage, report.path, name
    )
    best = result.incumbent()
    gain = 1 - best.validation_mase / incumbent.validation_mase
    figures = {"incumbent_mase": round(incumbent.validation_mase, 4), "gain": gain}
    boards.publish(result, model, leaderboard, metrics, best.latency_ms <= latency_limit_ms, **figures)


def better(models: Mapping[str, Artifact], val: Windows, latency_limit_ms: float) -> Candidate:
    """Return the best of the models inside the limit, else the fastest, judged again on `val` as the graphs they are."""
    found: dict[str, Candidate] = {}
    for name, artifact in models.items():
        try:
            found[name] = search.judge(graph.load(artifact.path), val, latency_limit_ms)
        except TooSlow as error:
            log.info("%s: %s", name, error)
    if not found:
        return min((search.judge(graph.load(each.path), val) for each in models.values()), key=lambda it: it.latency_ms)
    name = min(found, key=lambda name: found[name].validation_mase)
    log.info("tuning %s of %s, MASE %.4f", found[name].family, name, found[name].validation_mase)
    return found[name]


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


def _trainer(family: str, train: Windows, val: Windows, seed: int, latency_limit_ms: float) -> Trainer:
    """Return the trainer that knows a family; torch and the tabular libraries load only where they are needed."""
    from fleetml.learn import tabular

    if family in tabular.FAMILIES:
        from fleetml.learn.tabular_trainer import TabularTrainer

        return TabularTrainer(train, val, seed, latency_limit_ms)
    from fleetml.learn.neural_trainer import NeuralTrainer

    return NeuralTrainer(train, val, seed, latency_limit_ms)
