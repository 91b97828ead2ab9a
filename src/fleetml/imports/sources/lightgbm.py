"""LightGBM's text."""

from pathlib import Path

import numpy as np
import onnx

from fleetml.errors import InvalidData
from fleetml.imports.arrays import Array, Arrays
from fleetml.imports.sources import Source, columns, trees
from fleetml.learn.tabular import of_float32

# Of a split, in its decision type: on categories; what is missing (its bits 2 and 3).
_CATEGORIES, _MISSING, _ZERO = 1, 0b1100, 0b0100


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
        self._codes, self._zeros = _special(self._booster.model_to_string())

    def graph(self) -> onnx.ModelProto:
        import onnxmltools

        features = self._booster.num_feature()
        with trees.deep():
            model = onnxmltools.convert_lightgbm(
                of_float32(self._booster), initial_types=trees.types(features), target_opset=15, zipmap=False
            )
        self._classifies = model.graph.output[-1].name == "probabilities"
        made = trees.finished(model, "lightgbm")
        columns.whole(made, self._codes, features, toward_zero=True)
        columns.zeros_missing(made, self._zeros, features)
        return made

    def run(self, inputs: Arrays) -> list[Array]:
        said = np.asarray(self._booster.predict(inputs[trees.ROWS].astype(np.float64), num_threads=1))
        return [trees.shaped(said, said.ndim == 1 and self._classifies)]


def _special(text: str) -> tuple[list[int], list[int]]:
    """Return the columns of categories, and those of numbers where 0 is missing. Raises InvalidData for trees with lines in leaves."""
    codes, zeros, features = set(), set(), []
    for line in text.split("\n"):
        name, _, said = line.partition("=")
        if name == "is_linear" and said.strip() == "1":
            raise InvalidData(
                "a leaf of ONNX's trees is a number, those of this model are lines (linear_tree); train without it"
            )
        if name == "split_feature":
            features = [int(column) for column in said.split()]
        if name == "decision_type":
            for column, kind in zip(features, map(int, said.split()), strict=True):
                if kind & _CATEGORIES:
                    codes.add(column)
                elif kind & _MISSING == _ZERO:
                    zeros.add(column)
    return sorted(codes), sorted(zeros)


def open(path: Path, given: Arrays) -> Source:
    """Raises InvalidData for a file that LightGBM does not load, and for what ONNX's trees do not hold."""
    return Booster(path)
