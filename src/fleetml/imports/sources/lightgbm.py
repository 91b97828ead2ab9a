"""LightGBM's text."""

from pathlib import Path

import numpy as np
import onnx

from fleetml.errors import InvalidData
from fleetml.imports.arrays import Array, Arrays
from fleetml.imports.sources import Source, trees
from fleetml.learn.tabular import of_float32


class Booster:
    """A booster of trees; classes are answered as probabilities."""

    missing = True

    def __init__(self, path: Path) -> None:
        import lightgbm

        try:
            self._booster = lightgbm.Booster(model_str=path.read_text(encoding="utf-8"))
        except (lightgbm.basic.LightGBMError, UnicodeDecodeError) as error:
            raise InvalidData(
                f"LightGBM must load the file, it says: {error}; save it again with save_model"
            ) from error
        self.columns = tuple(self._booster.feature_name())

    def graph(self) -> onnx.ModelProto:
        import onnxmltools

        model = onnxmltools.convert_lightgbm(
            of_float32(self._booster),
            initial_types=trees.types(self._booster.num_feature()),
            target_opset=15,
            zipmap=False,
        )
        self._classifies = model.graph.output[-1].name == "probabilities"
        return trees.finished(model, "lightgbm")

    def run(self, inputs: Arrays) -> list[Array]:
        said = np.asarray(self._booster.predict(inputs[trees.ROWS].astype(np.float64), num_threads=1))
        return [trees.shaped(said, said.ndim == 1 and self._classifies)]


def open(path: Path, given: Arrays) -> Source:
    """Raises InvalidData for a file that LightGBM does not load."""
    return Booster(path)
