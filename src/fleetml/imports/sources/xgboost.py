"""XGBoost's JSON and UBJ."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx

from fleetml.errors import InvalidData, InvalidParameter
from fleetml.imports.arrays import Array, Arrays
from fleetml.imports.sources import Source, columns, trees


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
        if (kind := self._of("gradient_booster")) != "gbtree":
            raise InvalidData(f"boosters of trees (gbtree) are imported, got {kind}; train one of those")
        types = self._booster.feature_types or []
        self._codes = [place for place, name in enumerate(types) if name == "c"]
        # The converter knows columns by number, and dumps them by type.
        self._booster.feature_names = None
        self._objective = self._of("objective")
        if self._objective == "multi:softmax":  # the same trees; a graph answers with probabilities
            self._booster.set_param({"objective": "multi:softprob"})

    def graph(self) -> onnx.ModelProto:
        import onnxmltools

        features = self._booster.num_features()
        with trees.deep():
            made = onnxmltools.convert_xgboost(self._booster, initial_types=trees.types(features), target_opset=15)
        model = trees.finished(made, "xgboost")
        columns.whole(model, self._codes, features, toward_zero=False)
        return model

    def run(self, inputs: Arrays) -> list[Array]:
        import xgboost

        rows = inputs[trees.ROWS]
        if np.isinf(rows).any():
            raise InvalidParameter("XGBoost takes no infinite numbers, the samples hold some; leave those rows out")
        said = self._booster.predict(xgboost.DMatrix(rows, missing=np.nan, nthread=1), validate_features=False)
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
