"""The KFP edge of train."""

from kfp import dsl

from components.edge import step


@dsl.container_component
def train_anomaly(
    train: dsl.Input[dsl.Dataset],
    val: dsl.Input[dsl.Dataset],
    model: dsl.Output[dsl.Model],
    metrics: dsl.Output[dsl.Metrics],
    width: int = 48,
    epochs: int = 8,
    alarms_per_vm_week: float = 1.0,
    seed: int = 0,
) -> dsl.ContainerSpec:
    """Train a small network that tells true rows of metrics from ones with metrics replaced, and calibrate it."""
    return step("components.train.anomaly:train_anomaly")


@dsl.container_component
def train_window_anomaly(
    train: dsl.Input[dsl.Dataset],
    model: dsl.Output[dsl.Model],
    metrics: dsl.Output[dsl.Metrics],
    metric: str = "",
    steps: int = 12,
    smooth: int = 10,
    trim: float = 0.0,
) -> dsl.ContainerSpec:
    """Fit the window detector of one VM, or a fleet, on their metrics in time: a share `trim` of the windows may be anomalies already. A `metric`: novelty in it alone."""
    return step("components.train.window_anomaly:train_window_anomaly")


@dsl.container_component
def train_network(
    train: dsl.Input[dsl.Dataset],
    val: dsl.Input[dsl.Dataset],
    model: dsl.Output[dsl.Model],
    metrics: dsl.Output[dsl.Metrics],
    family: str = "tcn",
    hyperparameters: dict[str, float] = {},  # noqa: B006 - kfp reads the default, nothing changes it
    processes: int = 1,
    epochs: int = 12,
    batch_size: int = 128,
    checkpoint_dir: str = "",
    seed: int = 0,
) -> dsl.ContainerSpec:
    """Train a forecasting network of given shape, over several processes where asked (torchrun, DDP), resumed from its checkpoint."""
    return step("components.train.network:train_network")
