"""The KFP edge of deploy; it changes what is served, so compile it with caching off."""

from kfp import dsl

from components.edge import step


@dsl.container_component
def deploy(
    model: dsl.Input[dsl.Model],
    test: dsl.Input[dsl.Dataset],
    train: dsl.Input[dsl.Dataset],
    endpoint: dsl.OutputPath(str),  # type: ignore[valid-type]
    metrics: dsl.Output[dsl.Metrics],
    model_name: str = "bandwidth",
    version: str = "",
    serving_dir: str = "",
    address: str = "",
    registry: str = "",
    rollout: str = "",
    shorter_horizon: bool = False,
) -> dsl.ContainerSpec:
    """Serve the version, alone or tried beside the served one, once it answers over gRPC as its graph does."""
    return step("components.deploy.deploy:deploy")
