"""XGBoost's JSON and UBJ."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx

from fleetml.errors import InvalidData
from fleetml.imports.arrays import Array, Arrays
from fleetml.imports.sources import Source, trees


class Booster:
    """A booster of trees; classes are answered as probabilities."""

    missing = True

    def __init__(self, path: Path) -> None:
        import xgboost

        try:
            self._booster = xgboost.Booster(model_file=bytearray(path.read_bytes()))  # by content, not by suffix
        except (xgboost.core.XGBoostError, ValueError) as error:
            raise InvalidData(f"XGBoost must load the file, it says: {_first(error)}; save it again as .ubj") from error
        self.columns = tuple(self._booster.feature_names or ())
        if "c" in (self._booster.feature_types or ()):
            raise InvalidData(
                "columns of categories have no counterpart in ONNX's trees; train on numbers (one-hot or ordinal codes)"
            )
        self._booster.feature_names = self._booster.feature_types = None
        self._objective = self._of("objective")
        if self._objective == "multi:softmax":  # the same trees; a graph answers with probabilities
            self._booster.set_param({"objective": "multi:softprob"})
        if (kind := self._of("gradient_booster")) not in ("gbtree", "dart"):
            raise InvalidData(f"boosters of trees (gbtree, dart) are imported, got {kind}; train one of those")

    def graph(self) -> onnx.ModelProto:
        import onnxmltools

        types = trees.types(self._booster.num_features())
        return trees.finished(
            onnxmltools.convert_xgboost(self._booster, initial_types=types, target_opset=15), "xgboost"
        )

    def run(self, inputs: Arrays) -> list[Array]:
        import xgboost

        said = self._booster.predict(xgboost.DMatrix(inputs[trees.ROWS], missing=np.nan, nthread=1))
        two = said.ndim == 1 and self._objective in ("binary:logistic", "reg:logistic")
        return [trees.shaped(said, two)]

    def _of(self, part: str) -> str:
        import json

        found: dict[str, Any] = json.loads(self._booster.save_config())["learner"]
        return str(found[part]["name"])


def _first(error: Exception) -> str:
    """XGBoost appends a stack trace."""
    return str(error).split("Stack trace")[0].strip().splitlines()[-1]


def open(path: Path, given: Arrays) -> Source:
    """Raises InvalidData for a file that XGBoost does not load, and for what ONNX's trees do not hold."""
    return Booster(path)
