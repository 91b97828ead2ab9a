"""The KFP edge of the hyperparameter search."""

from typing import Any

from kfp import dsl

from components.edge import step


@dsl.container_component
def hpo(
    train: dsl.Input[dsl.Dataset],
    val: dsl.Input[dsl.Dataset],
    automl_model: dsl.Input[dsl.Model],
    nas_model: dsl.Input[dsl.Model],
    model: dsl.Output[dsl.Model],
    leaderboard: dsl.Output[dsl.Dataset],
    metrics: dsl.Output[dsl.Metrics],
    report: dsl.Output[dsl.HTML],
    trials: int = 8,
    timeout_seconds: int = 30,
    latency_limit_ms: float = 5.0,
    seed: int = 0,
    sampler: str = "auto",
    pruner: str = "median",
    workers: int = 1,
    storage: str = "",
) -> dsl.ContainerSpec:
    """Tune the better of two models around the hyperparameters it was found with."""
    return step("components.hpo.hpo:hpo")


@dsl.container_component
def hpo_best(
    models: dsl.Input[list[dsl.Model]],
    leaderboards: dsl.Input[list[dsl.Dataset]],
    val: dsl.Input[dsl.Dataset],
    model: dsl.Output[dsl.Model],
    leaderboard: dsl.Output[dsl.Dataset],
    metrics: dsl.Output[dsl.Metrics],
) -> dsl.ContainerSpec:
    """Take the best of what the workers of one study found."""
    return step("components.hpo.best:hpo_best")


def hpo_workers(
    train: Any, val: Any, automl_model: Any, nas_model: Any, workers: int, storage: Any, **budget: Any
) -> dsl.PipelineTask:
    """Add `workers` steps that share one study, in `storage`, and the step that takes its best model; return that step.

    To call inside a pipeline. `storage` is the path of a journal that all steps can write, or ``postgresql://host/database``;
    `budget` are the other parameters of `hpo`, the trials those of all workers.
    """
    given = {"train": train, "val": val, "automl_model": automl_model, "nas_model": nas_model, "storage": storage}
    with dsl.ParallelFor(list(range(workers)), name="hpo-workers"):
        tuned = hpo(**given, **budget).set_caching_options(False)
    models, leaderboards = (dsl.Collected(tuned.outputs[name]) for name in ("model", "leaderboard"))
    return hpo_best(models=models, leaderboards=leaderboards, val=val).set_caching_options(False)
