"""The KFP edges of drift."""

from kfp import dsl

from components.edge import step


@dsl.container_component
def collect(
    current: dsl.Output[dsl.Dataset],
    reference: dsl.Output[dsl.Dataset],
    metrics: dsl.Output[dsl.Metrics],
    serving_dir: str = "",
    model_name: str = "bandwidth",
    since_hours: float = 24.0,
) -> dsl.ContainerSpec:
    """Read the prediction log and the training features of the served version; compile it with caching off."""
    return step("components.drift.collect:collect")


@dsl.container_component
def drift(
    current: dsl.Input[dsl.Dataset],
    reference: dsl.Input[dsl.Dataset],
    report: dsl.Output[dsl.HTML],
    drifted: dsl.OutputPath(bool),  # type: ignore[valid-type]
    score: dsl.OutputPath(float),  # type: ignore[valid-type]
    features: dsl.OutputPath(dict),  # type: ignore[valid-type]
    metrics: dsl.Output[dsl.Metrics],
    threshold: float = 0.3,
    column_threshold: float = 1.0,
    min_rows: int = 100,
) -> dsl.ContainerSpec:
    """Measure how far the live features are from those of training; report it."""
    return step("components.drift.drift:drift")


@dsl.container_component
def retrain_event(
    event: dsl.OutputPath(dict),  # type: ignore[valid-type]
    metrics: dsl.Output[dsl.Metrics],
    features: dict = {},  # noqa: B006 - kfp reads the default when it compiles
    score: float = 0.0,
    model_name: str = "bandwidth",
) -> dsl.ContainerSpec:
    """Say which model needs a retrain and why; triggers.yaml makes an event of it. Compile it with caching off."""
    return step("components.drift.event:retrain_event")
