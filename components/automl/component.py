"""The KFP edges of AutoML."""

from kfp import dsl

from components.edge import step


@dsl.container_component
def automl(
    train: dsl.Input[dsl.Dataset],
    val: dsl.Input[dsl.Dataset],
    model: dsl.Output[dsl.Model],
    single: dsl.Output[dsl.Model],
    leaderboard: dsl.Output[dsl.Dataset],
    report: dsl.Output[dsl.HTML],
    metrics: dsl.Output[dsl.Metrics],
    trials: int = 12,
    timeout_seconds: int = 40,
    seed: int = 0,
    patience: int = 0,
    counted: bool = False,
    memory_mb: int = 4096,
    latency_limit_ms: float = 5.0,
    size_limit_mb: float = 20.0,
) -> dsl.ContainerSpec:
    """Search a tabular forecaster: linear, random forest, extra trees, XGBoost, LightGBM, MLP, and the ensemble of them."""
    return step("components.automl.automl:automl")


@dsl.container_component
def automl_tabular(
    dataset: dsl.Input[dsl.Dataset],
    model: dsl.Output[dsl.Model],
    leaderboard: dsl.Output[dsl.Dataset],
    report: dsl.Output[dsl.HTML],
    metrics: dsl.Output[dsl.Metrics],
    trials: int = 200,
    timeout_seconds: int = 60,
    workers: int = 2,
    memory_mb: int = 4096,
    metric: str = "",
    group: str = "",
    time_column: str = "",
    latency_limit_ms: float = 10.0,
    size_limit_mb: float = 20.0,
    seed: int = 0,
    memory_limit_mb: float = 0.0,
) -> dsl.ContainerSpec:
    """Search the model of a table: an ensemble of families, calibrated, as ONE proven ONNX graph within its limits."""
    return step("components.automl.automl_tabular:automl_tabular")


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
