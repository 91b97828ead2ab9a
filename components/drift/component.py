"""The KFP edges of drift; all but `drift` look beyond their inputs, so compile those with caching off."""

from kfp import dsl

from components.edge import step


@dsl.container_component
def find_served(
    found: dsl.OutputPath(bool),  # type: ignore[valid-type]
    metrics: dsl.Output[dsl.Metrics],
    serving_dir: str = "",
    model_name: str = "bandwidth",
) -> dsl.ContainerSpec:
    """Tell whether anything is served; refuse a model that is not, beside others that are."""
    return step("components.drift.folder:find_served")


@dsl.container_component
def collect(
    current: dsl.Output[dsl.Dataset],
    reference: dsl.Output[dsl.Dataset],
    metrics: dsl.Output[dsl.Metrics],
    serving_dir: str = "",
    model_name: str = "bandwidth",
    since_hours: float = 24.0,
) -> dsl.ContainerSpec:
    """Read the prediction log and the training features of the served version."""
    return step("components.drift.collect:collect")


@dsl.container_component
def quality(
    judged: dsl.Output[dsl.Dataset],
    accuracy: dsl.OutputPath(float),  # type: ignore[valid-type]
    metrics: dsl.Output[dsl.Metrics],
    serving_dir: str = "",
    model_name: str = "bandwidth",
    days: int = 7,
    min_forecasts: int = 100,
) -> dsl.ContainerSpec:
    """Measure the accuracy of the forecasts whose truth has arrived."""
    return step("components.drift.quality:quality")


@dsl.container_component
def drift(
    current: dsl.Input[dsl.Dataset],
    reference: dsl.Input[dsl.Dataset],
    judged: dsl.Input[dsl.Dataset],
    report: dsl.Output[dsl.HTML],
    drifted: dsl.OutputPath(bool),  # type: ignore[valid-type]
    score: dsl.OutputPath(float),  # type: ignore[valid-type]
    features: dsl.OutputPath(dict),  # type: ignore[valid-type]
    missing: dsl.OutputPath(list),  # type: ignore[valid-type]
    metrics: dsl.Output[dsl.Metrics],
    threshold: float = 0.3,
    column_threshold: float = 0.1,
    min_rows: int = 100,
) -> dsl.ContainerSpec:
    """Measure how far live features and forecasts are from those of training; report it."""
    return step("components.drift.drift:drift")


@dsl.container_component
def publish(
    report: dsl.Input[dsl.HTML],
    metrics: dsl.Output[dsl.Metrics],
    model_name: str = "bandwidth",
    serving_dir: str = "",
    registry: str = "",
    drifted: bool = False,
    score: float = 0.0,
    features: dict = {},  # noqa: B006 - kfp reads the default when it compiles
    missing: list = [],  # noqa: B006
    accuracy: float = -1.0,
    run_id: str = "",
) -> dsl.ContainerSpec:
    """Tell MLflow and Prometheus what was found."""
    return step("components.drift.publish:publish")


@dsl.container_component
def decide(
    due: dsl.OutputPath(bool),  # type: ignore[valid-type]
    kind: dsl.OutputPath(str),  # type: ignore[valid-type]
    event: dsl.OutputPath(dict),  # type: ignore[valid-type]
    metrics: dsl.Output[dsl.Metrics],
    serving_dir: str = "",
    model_name: str = "bandwidth",
    drifted: bool = False,
    score: float = 0.0,
    features: dict = {},  # noqa: B006
    accuracy: float = -1.0,
    accuracy_floor: float = 0.8,
    cooldown_hours: float = 6.0,
    retrain_hours: float = 4.0,
    retrains_per_day: int = 3,
) -> dsl.ContainerSpec:
    """Decide whether a retrain is due and may begin, and of which kind of model."""
    return step("components.drift.retrain:decide")


@dsl.container_component
def retrain_event(
    event: dsl.OutputPath(dict),  # type: ignore[valid-type]
    metrics: dsl.Output[dsl.Metrics],
    decided: dict = {},  # noqa: B006
) -> dsl.ContainerSpec:
    """Say which model needs a retrain and why; triggers.yaml makes an event of it."""
    return step("components.drift.retrain:retrain_event")


@dsl.container_component
def retrained(
    metrics: dsl.Output[dsl.Metrics],
    serving_dir: str = "",
    model_name: str = "bandwidth",
    evidence: dict = {},  # noqa: B006
) -> dsl.ContainerSpec:
    """Note that a retrain has ended, well or not."""
    return step("components.drift.retrain:retrained")
