"""The KFP edges of features."""

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


@dsl.container_component
def refresh(data: dsl.Input[dsl.Dataset], metrics: dsl.Output[dsl.Metrics], store: str = "") -> dsl.ContainerSpec:
    """Bring the latest features of a canonical table into the online store; compile it with caching off."""
    return step("components.features.materialise:refresh")


@dsl.container_component
def observe(
    data: dsl.Input[dsl.Dataset],
    metrics: dsl.Output[dsl.Metrics],
    serving_dir: str = "",
    model_name: str = "bandwidth",
) -> dsl.ContainerSpec:
    """Keep the values of the target as the truth that forecasts are judged by; compile it with caching off."""
    return step("components.features.observe:observe")


@dsl.container_component
def episodes(
    data: dsl.Input[dsl.Dataset],
    train: dsl.Output[dsl.Dataset],
    test: dsl.Output[dsl.Dataset],
    metrics: dsl.Output[dsl.Metrics],
    train_episodes: int = 1,
    test_episodes: int = 10,
    seed: int = 0,
) -> dsl.ContainerSpec:
    """Draw orders in which a cluster's pods arrive, to search a placement policy on and to judge it."""
    return step("components.features.episodes:episodes")


@dsl.container_component
def samples(
    data: dsl.Input[dsl.Dataset],
    train: dsl.Output[dsl.Dataset],
    val: dsl.Output[dsl.Dataset],
    test: dsl.Output[dsl.Dataset],
    metrics: dsl.Output[dsl.Metrics],
    max_rows: int = 60000,
    seed: int = 0,
) -> dsl.ContainerSpec:
    """Make rows of the six metrics of a canonical table, split by time."""
    return step("components.features.samples:samples")


@dsl.container_component
def series(
    data: dsl.Input[dsl.Dataset],
    train: dsl.Output[dsl.Dataset],
    test: dsl.Output[dsl.Dataset],
    metrics: dsl.Output[dsl.Metrics],
    vm: str = "",
    metric: str = "",
    max_rows: int = 60000,
    seed: int = 0,
) -> dsl.ContainerSpec:
    """Make the six metrics of one VM, or of whole VMs drawn at random, in time, or one of them, without gaps, split by time."""
    return step("components.features.series:series")
