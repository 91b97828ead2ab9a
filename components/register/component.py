"""The KFP edges of register; both look beyond their inputs, so compile them with caching off."""

from kfp import dsl

from components.edge import step


@dsl.container_component
def champion(
    version: dsl.OutputPath(str),  # type: ignore[valid-type]
    model: dsl.Output[dsl.Model],
    metrics: dsl.Output[dsl.Metrics],
    registry: str = "",
    model_name: str = "bandwidth",
) -> dsl.ContainerSpec:
    """Fetch the champion's graph and its version; an empty version and an empty file when there is none."""
    return step("components.register.register:champion")


@dsl.container_component
def register(
    model: dsl.Input[dsl.Model],
    scores: dsl.Input[dsl.Artifact],
    data: dsl.Input[dsl.Dataset],
    train: dsl.Input[dsl.Dataset],
    version: dsl.OutputPath(str),  # type: ignore[valid-type]
    metrics: dsl.Output[dsl.Metrics],
    registry: str = "",
    model_name: str = "bandwidth",
    run_id: str = "",
    rollout: str = "",
    results: str = "",
) -> dsl.ContainerSpec:
    """Record the model with its data, code, parameters and run as the new champion or challenger; return its version."""
    return step("components.register.register:register")
