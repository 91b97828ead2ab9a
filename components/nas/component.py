"""The KFP edge of the architecture search."""

from kfp import dsl

from components.edge import step


@dsl.container_component
def nas(
    train: dsl.Input[dsl.Dataset],
    val: dsl.Input[dsl.Dataset],
    model: dsl.Output[dsl.Model],
    leaderboard: dsl.Output[dsl.Dataset],
    metrics: dsl.Output[dsl.Metrics],
    report: dsl.Output[dsl.HTML],
    trials: int = 6,
    timeout_seconds: int = 40,
    latency_limit_ms: float = 5.0,
    seed: int = 0,
    sampler: str = "auto",
    second_objective: str = "",
    max_parameters: int = 0,
    max_operations: int = 0,
    counted: bool = False,
    workers: int = 1,
    storage: str = "",
    workspace: str = "",
    patience: int = 0,
    memory_mb: int = 4096,
) -> dsl.ContainerSpec:
    """Search the architecture of a neural forecaster inside limits of latency, parameters and operations."""
    return step("components.nas.nas:nas")
