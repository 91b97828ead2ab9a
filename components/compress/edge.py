"""Compression of anomaly graphs for edge devices: INT8 weights, if they lose no more than allowed."""

import tempfile
from pathlib import Path

import onnx

from fleetml.component import Artifact
from fleetml.errors import InvalidParameter
from fleetml.learn import scorer
from fleetml.learn.anomaly import judge, samples


def compress_anomaly(model: Artifact, val: Artifact, max_loss: float, compressed: Artifact, metrics: Artifact) -> None:
    """Write the graph with INT8 weights where that is smaller and loses at most `max_loss` of its average precision.

    Else the graph as it is; the metadata say which and why. Raises InvalidParameter for a negative or missing max_loss.
    """
    if not max_loss >= 0:
        raise InvalidParameter(f"max_loss must be a share of the average precision from 0, got {max_loss}; correct it")
    rows = samples.load(val.path)
    original = model.path.read_bytes()
    small = int8(original)
    before, after = (judge.score(rows, graph)[judge.MEASURE] for graph in (original, small))
    loss = 1 - after / before if before else 0.0
    reason = ""
    if len(small) >= len(original):
        reason = f"INT8 is not smaller ({len(small)} bytes)"
    elif not loss <= max_loss:
        reason = f"INT8 loses {loss:.2%} of the average precision"
    kept, measured = (original, before) if reason else (small, after)
    figures: dict[str, str | float] = {
        "method": "none" if reason else "int8_weights",
        "ratio": round(len(original) / len(kept), 3),
        "loss": 0.0 if reason else round(loss, 5),
    }
    scorer.publish(kept, compressed, **figures, reason=reason, validation_average_precision=measured)
    metrics.log(**figures, size_bytes=len(kept), reason=reason)


def int8(graph: bytes) -> bytes:
    """Return the graph with the weights of its matrix products in INT8; activations are quantised as they come."""
    from onnxruntime import quantization

    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "source.onnx", Path(folder) / "target.onnx"
        source.write_bytes(graph)
        quantization.quantize_dynamic(
            source, target, weight_type=quantization.QuantType.QInt8, op_types_to_quantize=["MatMul"]
        )
        made = onnx.load(target)
    del made.metadata_props[:]
    made.metadata_props.extend(onnx.load_from_string(graph).metadata_props)
    return made.SerializeToString()
