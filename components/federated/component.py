"""The KFP edge of federated."""

from kfp import dsl

from components.edge import step


@dsl.container_component
def federated(
    train: dsl.Input[dsl.Dataset],
    val: dsl.Input[dsl.Dataset],
    data: dsl.Input[dsl.Dataset],
    model: dsl.Output[dsl.Model],
    metrics: dsl.Output[dsl.Metrics],
    report: dsl.Output[dsl.HTML],
    rounds: int = 10,
    local_epochs: int = 1,
    round_seconds: float = 600.0,
    patience: int = 0,
    min_improvement: float = 0.001,
    selection: str = "random",
    fraction: float = 1.0,
    min_clients: int = 2,
    strategy: str = "fedavg",
    weights: str = "examples",
    proximal_mu: float = 0.0,
    server_learning_rate: float = 0.0,
    trim: float = 0.2,
    malicious: int = 0,
    privacy: str = "",
    epsilon: float = 0.0,
    delta: float = 1e-5,
    clip: float = 1.0,
    secure: bool = False,
    update_bits: int = 32,
    update_share: float = 1.0,
    personal_epochs: int = 1,
    compare_own: bool = False,
    compare_central: bool = True,
    clients: int = 10,
    workers: int = 2,
    checkpoint_dir: str = "",
    superlink: str = "",
    seed: int = 0,
) -> dsl.ContainerSpec:
    """Train a forecaster in rounds over regions whose windows stay where they are; a page tells its rounds and how fair it is."""
    return step("components.federated.federated:federated")
