"""scikit-learn, saved by skops: types that it does not trust are refused, there is no way to allow them.

But for two of scikit-learn's own, which skops leaves out because their compiled code follows the numbers of the file
wherever they point: those are checked here first.
"""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from fleetml.errors import InvalidData
from fleetml.imports.arrays import Array, Arrays
from fleetml.imports.sources import Source, forests, trees
from fleetml.learn.builder import IR_VERSION, OPSET

_TREES = ("sklearn.tree._tree.Tree", "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor")
_LET_IN = (*_TREES, "numpy.dtype")  # SimpleImputer keeps one, of an array without objects
_ML_OPSET = 3  # the newest that skl2onnx's trees and encoders ask for


class Estimator:
    """A fitted estimator or pipeline. With columns of text in `given` the graph has an input per column, else one matrix."""

    def __init__(self, path: Path, given: Arrays) -> None:
        self._estimator = _load(path)
        if not hasattr(self._estimator, "predict"):
            raise InvalidData(
                f"a model predicts, the file holds a {type(self._estimator).__name__} without predict; save the fitted pipeline"
            )
        self.columns = tuple(map(str, getattr(self._estimator, "feature_names_in_", ())))
        self._tabular = bool(self.columns) and any(
            name in given and given[name].dtype.kind in "UO" for name in self.columns
        )
        self._text = {name for name in self.columns if name in given and given[name].dtype.kind in "UO"}
        self._nodes = list(forests.of(self._estimator))
        for nodes in self._nodes:
            nodes.check()
            nodes.round_down()
        self.missing = not self._text and _takes_missing(self._estimator)

    def graph(self) -> onnx.ModelProto:
        from skl2onnx import convert_sklearn
        from skl2onnx.common.data_types import FloatTensorType, StringTensorType
        from sklearn.base import is_classifier
        from sklearn.preprocessing import MaxAbsScaler, StandardScaler

        if self._tabular:
            types = [
                (name, (StringTensorType if name in self._text else FloatTensorType)([None, 1]))
                for name in self.columns
            ]
        else:
            if (width := getattr(self._estimator, "n_features_in_", None)) is None:
                raise InvalidData(
                    "a model knows how many features it takes (n_features_in_), this one does not; fit it"
                )
            types = [(trees.ROWS, FloatTensorType([None, int(width)]))]
        # The converter multiplies by 1 / scale unless told to divide, which moves rows that lie on a tree's threshold
        options: dict[Any, dict[str, Any]] = {each: {"div": "div"} for each in (StandardScaler, MaxAbsScaler)}
        if is_classifier(self._estimator):
            options[id(self._estimator)] = {"zipmap": False}
        model = convert_sklearn(
            self._estimator,
            name="scikit-learn",
            initial_types=types,
            options=options,
            target_opset={"": OPSET, "ai.onnx.ml": _ML_OPSET},
        )
        model.ir_version = IR_VERSION
        forests.tell_missing(model, self._nodes)
        if not hasattr(self._estimator, "predict_proba"):
            del model.graph.output[1:]  # a classifier's scores, whose shape differs from scikit-learn's
        return model

    def run(self, inputs: Arrays) -> list[Array]:
        rows = self._frame(inputs) if self._tabular else inputs[trees.ROWS]
        said = [np.asarray(self._estimator.predict(rows))]
        if hasattr(self._estimator, "predict_proba"):
            said.append(np.asarray(self._estimator.predict_proba(rows), np.float32))
        elif said[0].dtype.kind == "f":
            said[0] = said[0].reshape(len(said[0]), -1).astype(np.float32)
        return said

    def _frame(self, inputs: Arrays) -> Any:
        import pandas

        return pandas.DataFrame({name: inputs[name].ravel() for name in self.columns})


def open(path: Path, given: Arrays) -> Source:
    """Raises InvalidData for types of strangers, and for what is no fitted model."""
    return Estimator(path, given)


def _load(path: Path) -> Any:
    import skops.io

    try:
        named = list(map(str, skops.io.get_untrusted_types(file=path)))
    except Exception as error:  # skops raises what its parts raise for a file that is none
        raise InvalidData(f"skops must read the file, it says: {error}; save it again with skops.io.dump") from error
    if {"functools.partial", _TREES[1]} <= set(named):
        raise InvalidData(forests.CATEGORIES)
    if strange := [each for each in named if each not in _LET_IN]:
        raise InvalidData(
            f"a skops file may hold the types of scikit-learn and NumPy, this one holds {', '.join(strange)}, whose "
            "code could be anything; use scikit-learn's own transformers, or save it as ONNX"
        )
    try:
        return skops.io.load(path, trusted=list(_LET_IN))
    except Exception as error:
        raise InvalidData(
            f"skops must load the file, it says: {error}; save it with the scikit-learn of here"
        ) from error


def _takes_missing(estimator: Any) -> bool:
    """Say whether it answers a row of missing values: its trees do where they learnt from such, and others never."""
    if (width := getattr(estimator, "n_features_in_", None)) is None:
        return False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            estimator.predict(np.full((1, int(width)), np.nan, np.float32))
        except Exception:  # whatever its steps raise: it does not
            return False
    return True
