"""The KFP edges of features and materialise."""

from kfp import dsl

from components.edge import step


@dsl.container_component
def features(
    data: dsl.Input[dsl.Dataset],
    features: dsl.Output[dsl.Dataset],
    train: dsl.Output[dsl.Dataset],
    val: dsl.Output[dsl.Dataset],
    test: dsl.Output[dsl.Dataset],
    metrics: dsl.Output[dsl.Metrics],
    target: str = "bandwidth",
    context: int = 288,
    horizon: int = 48,
    test_windows: int = 6,
    max_windows: int = 4000,
    seed: int = 0,
) -> dsl.ContainerSpec:
    """Make the feature table of a canonical table, and train, val and test windows from it, split by time."""
    return step("components.features.features:features")


@dsl.container_component
def materialise(
    features: dsl.Input[dsl.Dataset], metrics: dsl.Output[dsl.Metrics], store: str = ""
) -> dsl.ContainerSpec:
    """Bring the latest features of every VM into the online store."""
    return step("components.features.materialise:materialise")
