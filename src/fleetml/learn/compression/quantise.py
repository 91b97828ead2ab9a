"""INT8 after training, by ONNX Runtime: static (QDQ), mixed (the most sensitive nodes left in float) and dynamic."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
from onnxruntime import quantization
from onnxruntime.quantization.shape_inference import quant_pre_process

from fleetml.learn.compression.compressible import Compressible, Data, Feeds, check_time

OPERATORS = ("MatMul", "Gemm", "Conv")
# Weights smaller than this stay as they are: what they save is less than what the added nodes cost.
LEAST_WEIGHTS = 1_024
# All zero points 0 and float biases: what TensorRT takes as it is.
_STATIC = {"ActivationSymmetric": True, "WeightSymmetric": True, "QuantizeBias": False}
Run = Callable[[Path, Path], None]


def quantisable(model: onnx.ModelProto) -> list[str]:
    """Return the names of the nodes worth quantising: those with a large constant weight."""
    sizes = {tensor.name: int(np.prod(tensor.dims)) for tensor in model.graph.initializer}
    return [
        node.name
        for node in model.graph.node
        if node.op_type in OPERATORS and sizes.get(node.input[1], 0) >= LEAST_WEIGHTS
    ]


def static(model: Compressible, amount: float, data: Data) -> Compressible:
    """Return the graph with weights and activations in INT8 (QDQ), their ranges measured on rows to calibrate with.

    `amount` 1: a scale for each channel of the weights; less: one for all of them, which saves their bytes.
    """
    nodes = quantisable(model.graph)
    made = data.finished(_static(model.graph, data.feeds(), nodes, per_channel=amount >= 1))
    return Compressible(made, None, (*model.steps, "static_qdq" if amount >= 1 else "static_qdq_per_tensor"))


def mixed(model: Compressible, amount: float, data: Data) -> Compressible:
    """Return the static graph with that share of the nodes left in float: those that, quantised alone, lose the most.

    How much is measured on the rows to calibrate with, as the change of the first output.
    """
    nodes, feeds = quantisable(model.graph), data.feeds()
    wanted = _answers(model.graph, feeds)
    harm = {}
    for node in nodes:
        check_time(data)
        harm[node] = float(np.abs(_answers(_static(model.graph, feeds, [node]), feeds) - wanted).mean())
    left = sorted(nodes, key=harm.__getitem__)[: max(1, len(nodes) - math.ceil(amount * len(nodes)))]
    made = data.finished(_static(model.graph, feeds, left))
    return Compressible(made, None, (*model.steps, f"mixed {len(left)}/{len(nodes)}"))


def dynamic(model: Compressible, amount: float, data: Data) -> Compressible:
    """Return the graph with weights in INT8; activations are quantised as they come, so nothing is calibrated."""
    names = quantisable(model.graph)
    # ONNX Runtime splits each Gemm into one MatMul and one Add before it looks at the names.
    names += [f"{name}_MatMul" for name in names]
    made = _quantised(
        model.graph,
        lambda source, target: quantization.quantize_dynamic(
            source,
            target,
            weight_type=quantization.QuantType.QInt8,
            per_channel=amount >= 1,
            op_types_to_quantize=list(OPERATORS),
            nodes_to_quantize=names,
        ),
    )
    return replace(model, graph=data.finished(made), network=None, steps=(*model.steps, "dynamic"))


def _static(
    model: onnx.ModelProto, feeds: Sequence[Feeds], nodes: Sequence[str], per_channel: bool = True
) -> onnx.ModelProto:
    return _quantised(
        model,
        lambda source, target: quantization.quantize_static(
            source,
            target,
            Calibration(feeds),
            quant_format=quantization.QuantFormat.QDQ,
            activation_type=quantization.QuantType.QInt8,
            weight_type=quantization.QuantType.QInt8,
            per_channel=per_channel,
            op_types_to_quantize=list(OPERATORS),
            nodes_to_quantize=list(nodes),
            extra_options=_STATIC,
        ),
    )


def _quantised(model: onnx.ModelProto, run: Run) -> onnx.ModelProto:
    with tempfile.TemporaryDirectory() as folder:
        source, prepared, target = (Path(folder) / f"{name}.onnx" for name in ("source", "prepared", "target"))
        bare = onnx.ModelProto()
        bare.CopyFrom(model)
        del bare.graph.value_info[:]  # stale shapes make the quantiser fail
        onnx.save(bare, source)
        quant_pre_process(source, prepared, skip_optimization=True, skip_symbolic_shape=True)
        run(prepared, target)
        made = onnx.load(target)
    del made.graph.value_info[:]
    return made


def _answers(model: onnx.ModelProto, feeds: Sequence[Feeds]) -> np.ndarray:
    from fleetml.learn.forecaster import session

    loaded = session(model.SerializeToString())
    return np.concatenate([loaded.run(None, dict(feed))[0] for feed in feeds])


class Calibration(quantization.CalibrationDataReader):
    """Batches to calibrate with, as ONNX Runtime's quantiser asks for them."""

    def __init__(self, feeds: Sequence[Feeds]) -> None:
        self.batches: Iterator[Feeds] = iter(feeds)

    def get_next(self) -> dict[str, np.ndarray] | None:
        feed = next(self.batches, None)
        return None if feed is None else dict(feed)
