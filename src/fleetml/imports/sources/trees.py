"""What the sources of XGBoost and LightGBM share: rows of float32 in, one output, [rows, classes] or [rows, 1]."""

import contextlib
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from fleetml.imports.arrays import Array
from fleetml.learn.builder import IR_VERSION, OPSET

ROWS = "features"
DEPTH = 100_000  # of recursion: the converters descend a category of a split at a time
_ML_OPSET = 1
_SAID = {"probabilities": "probabilities", "variable": "prediction"}


@contextlib.contextmanager
def deep() -> Iterator[None]:
    """Let Python recurse as deeply as the converters do, and no longer: what else recurses would overrun its stack."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(max(DEPTH, before))
    try:
        yield
    finally:
        sys.setrecursionlimit(before)


def types(features: int) -> list[tuple[str, Any]]:
    """Return the converters' description of the input."""
    from onnxmltools.convert.common.data_types import FloatTensorType

    return [(ROWS, FloatTensorType([None, features]))]


def finished(model: onnx.ModelProto, name: str) -> onnx.ModelProto:
    """Return a converter's graph with its last output alone: labels are the largest of probabilities."""
    said = model.graph.output[-1].name
    kept = _SAID.get(said, "prediction")
    width = model.graph.output[-1].type.tensor_type.shape.dim[-1].dim_value
    for node in model.graph.node:
        node.output[:] = [kept if one == said else one for one in node.output]
        node.input[:] = [kept if one == said else one for one in node.input]
    del model.graph.output[:]
    model.graph.output.append(helper.make_tensor_value_info(kept, TensorProto.FLOAT, ["batch", width]))
    # The operators used (tree ensembles, elementwise ones) mean the same in every opset since 13.
    del model.opset_import[:]
    model.opset_import.extend([helper.make_opsetid("", OPSET), helper.make_opsetid("ai.onnx.ml", _ML_OPSET)])
    model.ir_version = IR_VERSION
    model.graph.name = name  # the converters draw one: the same model would be another file each time
    return model


def shaped(said: Array, two_classes: bool) -> Array:
    """Return what a booster says as its graph does: [rows, classes], of two classes both."""
    said = np.asarray(said, np.float32)
    if two_classes:
        return np.stack([1 - said, said], axis=1)
    return said.reshape(len(said), -1)
