"""INT8 quantisation of a graph's matrix products and convolutions, by ONNX Runtime."""

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
from onnxruntime import quantization
from onnxruntime.quantization.shape_inference import quant_pre_process

from fleetml.learn import graph
from fleetml.learn.windows import Windows

OPERATORS = ("MatMul", "Gemm", "Conv")
# Weights smaller than this stay as they are: what they save is less than what the added nodes cost.
LEAST_WEIGHTS = 1_024
CALIBRATION_WINDOWS = 256
_BATCH = 32
# All zero points 0 and float biases: what TensorRT takes as it is.
_STATIC = {"ActivationSymmetric": True, "WeightSymmetric": True, "QuantizeBias": False}

Method = Callable[[onnx.ModelProto, Windows], onnx.ModelProto]


def quantisable(model: onnx.ModelProto) -> list[str]:
    """Return the names of the nodes worth quantising: those with a large constant weight."""
    sizes = {tensor.name: int(np.prod(tensor.dims)) for tensor in model.graph.initializer}
    return [
        node.name
        for node in model.graph.node
        if node.op_type in OPERATORS and sizes.get(node.input[1], 0) >= LEAST_WEIGHTS
    ]


def static(model: onnx.ModelProto, train: Windows) -> onnx.ModelProto:
    """Return the graph with weights and activations in INT8 (QDQ), their ranges measured on training windows."""
    return _quantise(
        model,
        lambda source, target: quantization.quantize_static(
            source,
            target,
            _Calibration(train),
            quant_format=quantization.QuantFormat.QDQ,
            activation_type=quantization.QuantType.QInt8,
            weight_type=quantization.QuantType.QInt8,
            per_channel=True,
            op_types_to_quantize=list(OPERATORS),
            nodes_to_quantize=quantisable(model),
            extra_options=_STATIC,
        ),
    )


def dynamic(model: onnx.ModelProto, train: Windows) -> onnx.ModelProto:
    """Return the graph with weights in INT8; activations are quantised as they come, so nothing is calibrated."""
    names = quantisable(model)
    # ONNX Runtime splits each Gemm into one MatMul and one Add before it looks at the names.
    names += [f"{name}_MatMul" for name in names]
    return _quantise(
        model,
        lambda source, target: quantization.quantize_dynamic(
            source,
            target,
            weight_type=quantization.QuantType.QInt8,
            per_channel=True,
            op_types_to_quantize=list(OPERATORS),
            nodes_to_quantize=names,
        ),
    )


METHODS: dict[str, Method] = {"static_qdq": static, "dynamic": dynamic}


def _quantise(model: onnx.ModelProto, run: Callable[[Path, Path], None]) -> onnx.ModelProto:
    found = graph.describe(model)
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
    return graph.finish(made, found.meta, found.family, found.hyperparameters)


class _Calibration(quantization.CalibrationDataReader):
    """Feeds windows spread evenly over the training windows."""

    def __init__(self, train: Windows) -> None:
        places = np.unique(np.linspace(0, len(train) - 1, CALIBRATION_WINDOWS).astype(int))
        self.batches = self._feeds(train[places])

    @staticmethod
    def _feeds(windows: Windows) -> Iterator[dict[str, np.ndarray]]:
        for at in range(0, len(windows), _BATCH):
            some = windows[at : at + _BATCH]
            yield {"history": some.history, "covariates": some.covariates}

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self.batches, None)
