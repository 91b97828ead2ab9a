"""Compression of anomaly graphs for edge devices, as far as they lose no more than allowed."""

from __future__ import annotations

import onnx

from components.compress.compress import figures, time_to_tune
from fleetml.component import Artifact
from fleetml.errors import InvalidParameter


def compress_anomaly(
    model: Artifact,
    val: Artifact,
    max_loss: float,
    compressed: Artifact,
    metrics: Artifact,
    target_ratio: float = 0.0,
    target_latency_ms: float = 0.0,
    max_operations: int = 0,
    trials: int = 24,
    seconds: float = 60.0,
    precision: str = "int8",
    seed: int = 0,
    counted: bool = False,
    memory_mb: int = 4096,
) -> None:
    """Write the smallest graph that loses at most `max_loss` of its average precision, as the parameters of `compress` tell.

    Else the graph as it is; the metadata say which and why. A third of the VMs of `val` calibrate and teach, a third choose, a third judge.
    Raises InvalidParameter for a limit below 0, a contradiction, and a graph of another kind.
    """
    from fleetml.learn import scorer
    from fleetml.learn.anomaly import samples
    from fleetml.learn.compression.anomalies import AnomalyData
    from fleetml.learn.compression.search import Target, search

    target = Target(max_loss, target_ratio, target_latency_ms, max_operations)
    tuning = time_to_tune(target, seconds, counted)
    original = model.path.read_bytes()
    loaded = onnx.load_from_string(original)
    kind = scorer.describe({prop.key: prop.value for prop in loaded.metadata_props}).kind
    if kind != "anomaly":
        raise InvalidParameter(
            f"compress_anomaly takes a graph of kind anomaly, got {kind!r}; a forecaster is for compress"
        )
    data = AnomalyData(loaded, samples.load(val.path), tuning, seed)
    found = search(data, target, trials, seconds, seed, precision, counted, memory_mb)
    kept = original if found.method == "none" else found.graph.SerializeToString()
    told = figures(found)
    scorer.publish(kept, compressed, **told, validation_average_precision=found.figure)
    metrics.log(**told, size_bytes=len(kept))
