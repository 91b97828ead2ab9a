"""The KFP edge of the hyperparameter search."""

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
