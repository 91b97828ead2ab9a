"""The KFP edges of AutoML."""

from kfp import dsl

from components.edge import step


@dsl.container_component
def automl(
    train: dsl.Input[dsl.Dataset],
    val: dsl.Input[dsl.Dataset],
    model: dsl.Output[dsl.Model],
    leaderboard: dsl.Output[dsl.Dataset],
    metrics: dsl.Output[dsl.Metrics],
    trials: int = 12,
    timeout_seconds: int = 40,
    seed: int = 0,
) -> dsl.ContainerSpec:
    """Search a tabular forecaster: linear, random forest, XGBoost, LightGBM, MLP."""
    return step("components.automl.automl:automl")


@dsl.container_component
def automl_placement(
    train: dsl.Input[dsl.Dataset],
    model: dsl.Output[dsl.Model],
    leaderboard: dsl.Output[dsl.Dataset],
    metrics: dsl.Output[dsl.Metrics],
    trials: int = 40,
    timeout_seconds: int = 120,
    seed: int = 0,
) -> dsl.ContainerSpec:
    """Search the weights of a placement policy in simulated fillings of a cluster."""
    return step("components.automl.placement:automl_placement")
