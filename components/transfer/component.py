"""The KFP edge of transfer."""

from kfp import dsl

from components.edge import step


@dsl.container_component
def transfer(
    model: dsl.Input[dsl.Model],
    train: dsl.Input[dsl.Dataset],
    val: dsl.Input[dsl.Dataset],
    transferred: dsl.Output[dsl.Model],
    metrics: dsl.Output[dsl.Metrics],
    modes: list[str] = ["all", "head", "adapter"],  # noqa: B006 - kfp reads the default, nothing changes it
    epochs: int = 12,
    batch_size: int = 64,
    seed: int = 0,
) -> dsl.ContainerSpec:
    """Train the fleet's network further on few windows; the fleet's own where that is not better."""
    return step("components.transfer.transfer:transfer")
