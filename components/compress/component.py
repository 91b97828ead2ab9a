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
    target_ratio: float = 0.0,
    target_latency_ms: float = 0.0,
    max_operations: int = 0,
    trials: int = 24,
    seconds: float = 60.0,
    precision: str = "int8",
    seed: int = 0,
    counted: bool = False,
    memory_mb: int = 4096,
) -> dsl.ContainerSpec:
    """Compress a graph as far as its error grows by no more than a share of itself; else keep it, and say why.

    Args:
        max_loss: Error the compressed graph may add, as a share of the original's.
        target_ratio: How many times smaller it is to be; 0: as small as quantisation makes it.
        target_latency_ms: Longest median latency of one answer, in milliseconds; 0: any.
        max_operations: Most floating-point operations of one answer; 0: any.
        trials: How many chains of techniques are tried at most.
        seconds: How long a search for a target takes.
        precision: int8, or fp16 for networks on GPUs.
        seed: Seed of every random choice.
        counted: No clock decides within a trial: the same seed and trials give the same bytes.
        memory_mb: What one chain may take, in megabytes; 0: any.
    """
    return step("components.compress.compress:compress")


@dsl.container_component
def compress_anomaly(
    model: dsl.Input[dsl.Model],
    val: dsl.Input[dsl.Dataset],
    compressed: dsl.Output[dsl.Model],
    metrics: dsl.Output[dsl.Metrics],
    max_loss: float = 0.02,
    target_ratio: float = 0.0,
    target_latency_ms: float = 0.0,
    max_operations: int = 0,
    trials: int = 24,
    seconds: float = 60.0,
    precision: str = "int8",
    seed: int = 0,
    counted: bool = False,
    memory_mb: int = 4096,
) -> dsl.ContainerSpec:
    """Compress an anomaly graph as far as it loses no more of its average precision than allowed; parameters as of compress."""
    return step("components.compress.edge:compress_anomaly")
