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
    trials: int = 6,
    timeout_seconds: int = 40,
    latency_limit_ms: float = 5.0,
    seed: int = 0,
) -> dsl.ContainerSpec:
    """Search the architecture of a neural forecaster (MLP, GRU, TCN) within a latency limit."""
    return step("components.nas.nas:nas")
