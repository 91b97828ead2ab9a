"""The KFP edge of the hyperparameter search."""

from typing import Any

from kfp import dsl

from components.edge import step

# The workspace of a run whose steps share a study: on a cluster a volume that pods of several nodes write.
WORKSPACE = dsl.PipelineConfig(
    workspace=dsl.WorkspaceConfig("1Gi", dsl.KubernetesWorkspaceConfig({"accessModes": ["ReadWriteMany"]}))
)


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
    workspace: str = "",
    patience: int = 0,
    counted: bool = False,
    max_operations: int = 0,
    memory_mb: int = 4096,
    automl_single: dsl.Input[dsl.Model] = None,
) -> dsl.ContainerSpec:
    """Tune the better of two models around the hyperparameters it was found with; of an ensemble, the best of its trials."""
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
    train: Any, val: Any, automl_model: Any, nas_model: Any, workers: int, storage: Any = "", **budget: Any
) -> dsl.PipelineTask:
    """Add `workers` steps that share one study, and the step that takes its best model; return that step.

    To call inside a pipeline. `storage` is a parameter of the pipeline or a text: the path of a journal that all steps can write,
    ``postgresql://host/database``, or "": a journal in the run's workspace, so that a step which is done again in the same run goes
    on. The pipeline has a workspace then (``@dsl.pipeline(pipeline_config=WORKSPACE)``). `budget` are the other parameters of
    `hpo`, the trials those of all workers.
    """
    given = {"train": train, "val": val, "automl_model": automl_model, "nas_model": nas_model, "storage": storage}
    if not (storage and isinstance(storage, str)):  # what a parameter will say is known in the step
        given["workspace"] = dsl.WORKSPACE_PATH_PLACEHOLDER
    with dsl.ParallelFor(list(range(workers)), name="hpo-workers"):
        tuned = hpo(**given, **budget).set_caching_options(False)
    models, leaderboards = (dsl.Collected(tuned.outputs[name]) for name in ("model", "leaderboard"))
    return hpo_best(models=models, leaderboards=leaderboards, val=val).set_caching_options(False)
