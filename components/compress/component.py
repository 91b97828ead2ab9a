"""The KFP edges of compression."""

from kfp import dsl

from components.edge import step


@dsl.container_component
def compress(
    model: dsl.Input[dsl.Model],
    train: dsl.Input[dsl.Dataset],
    val: dsl.Input[dsl.Dataset],
    compressed: dsl.Output[dsl.Model],
    metrics: dsl.Output[dsl.Metrics],
    max_loss: float = 0.02,
) -> dsl.ContainerSpec:
    """Quantise a graph to INT8 if its error grows by no more than a share of itself; else keep it, and say why."""
    return step("components.compress.compress:compress")


@dsl.container_component
def compress_anomaly(
    model: dsl.Input[dsl.Model],
    val: dsl.Input[dsl.Dataset],
    compressed: dsl.Output[dsl.Model],
    metrics: dsl.Output[dsl.Metrics],
    max_loss: float = 0.02,
) -> dsl.ContainerSpec:
    """Put the weights of an anomaly graph into INT8 if that is smaller and loses no more than allowed."""
    return step("components.compress.edge:compress_anomaly")
