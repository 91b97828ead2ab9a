"""Keras' .keras, in safe mode. Runs in its own environment, which holds TensorFlow and neither ONNX Runtime nor torch."""

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fleetml.errors import InvalidData
from fleetml.imports import archives
from fleetml.imports.arrays import Array, Arrays
from fleetml.imports.sources import Source

if TYPE_CHECKING:
    import onnx

_OPSET = 18


class Network:
    """A model of Keras' own layers."""

    columns: tuple[str, ...] = ()
    missing = False

    def __init__(self, path: Path) -> None:
        archives.check_keras(path, path)
        os.environ["KERAS_BACKEND"] = "tensorflow"
        import keras

        with tempfile.TemporaryDirectory() as scratch:
            named = Path(scratch) / "model.keras"  # Keras goes by the suffix
            named.symlink_to(path.absolute())
            try:
                self._model = keras.saving.load_model(named, compile=False, safe_mode=True)
            except Exception as error:  # whatever its layers raise
                raise InvalidData(
                    f"Keras {keras.__version__} must load the file in safe mode, it says: {error}; save it with this version"
                ) from error

    def graph(self) -> "onnx.ModelProto":
        import keras
        import onnx

        _freeze(self._model)
        zeros = [keras.ops.zeros([size or 1 for size in each.shape], each.dtype) for each in self._model.inputs]
        self._model(zeros if len(zeros) > 1 else zeros[0])  # the exporter takes models that were called once
        with tempfile.TemporaryDirectory() as scratch:
            made = Path(scratch) / "model.onnx"
            self._model.export(made, format="onnx", verbose=False, opset_version=_OPSET)
            model = onnx.load(made)
        self._names = [info.name for info in model.graph.input]
        if len(self._names) != len(self._model.inputs):
            raise InvalidData(
                f"a graph takes what the model takes, the exporter left it the inputs {', '.join(self._names)}; save the model as ONNX"
            )
        model.graph.name = "keras"
        _rename(model, list(getattr(self._model, "output_names", [self._model.layers[-1].name])))
        return model

    def run(self, inputs: Arrays) -> list[Array]:
        import keras

        given = [inputs[name] for name in self._names]
        said = self._model(given if len(given) > 1 else given[0], training=False)
        return [np.asarray(keras.ops.convert_to_numpy(part)) for part in keras.tree.flatten(said)]


def _freeze(model: Any) -> None:
    """Make what a Normalization layer learnt arrays: of tensors that are no variables the exporter makes inputs of the graph."""
    for layer in model._flatten_layers():
        if type(layer).__name__ == "Normalization" and layer.mean is not None:
            layer.mean, layer.variance = np.asarray(layer.mean), np.asarray(layer.variance)


def _rename(model: "onnx.ModelProto", names: list[str]) -> None:
    """Name the outputs as Keras does: the exporter calls each "Identity:0" or so."""
    if len(set(names)) != len(model.graph.output):
        return
    known = {info.name: name for info, name in zip(model.graph.output, names, strict=True)}
    for info in model.graph.output:
        info.name = known[info.name]
    for node in model.graph.node:
        node.output[:] = [known.get(name, name) for name in node.output]
        node.input[:] = [known.get(name, name) for name in node.input]


def open(path: Path, given: Arrays) -> Source:
    """Raises InvalidData for layers that are not Keras' own, and for what it does not load."""
    return Network(path)
