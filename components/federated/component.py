"""The KFP edge of federated."""

from kfp import dsl

from components.edge import step


@dsl.container_component
def federated(
    train: dsl.Input[dsl.Dataset],
    val: dsl.Input[dsl.Dataset],
    data: dsl.Input[dsl.Dataset],
    model: dsl.Output[dsl.Model],
    central_model: dsl.Output[dsl.Model],
    metrics: dsl.Output[dsl.Metrics],
    rounds: int = 8,
    local_epochs: int = 1,
    clients: int = 3,
    seed: int = 0,
) -> dsl.ContainerSpec:
    """Train a forecaster by federated averaging over regions, and a central one with as many passes to compare."""
    return step("components.federated.federated:federated")
