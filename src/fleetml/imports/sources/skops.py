"""scikit-learn, saved by skops: types that it does not trust are refused, there is no way to allow them.

But for two of scikit-learn's own, which skops leaves out because their compiled code follows the numbers of the file
wherever they point: those are checked here first.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from fleetml.errors import InvalidData
from fleetml.imports.arrays import Array, Arrays
from fleetml.imports.sources import Source, trees
from fleetml.learn.builder import IR_VERSION, OPSET

_TREES = ("sklearn.tree._tree.Tree", "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor")
_ML_OPSET = 3  # the newest that skl2onnx's trees and encoders ask for


class Estimator:
    """A fitted estimator or pipeline. With columns of text in `given` the graph has an input per column, else one matrix."""

    missing = False

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
        for nodes in _trees(self._estimator):
            nodes.check()
            _round_down(nodes.thresholds)

    def graph(self) -> onnx.ModelProto:
        from skl2onnx import convert_sklearn
        from skl2onnx.common.data_types import FloatTensorType, StringTensorType
        from sklearn.base import is_classifier

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
        options = {id(self._estimator): {"zipmap": False}} if is_classifier(self._estimator) else None
        model = convert_sklearn(
            self._estimator,
            name="scikit-learn",
            initial_types=types,
            options=options,
            target_opset={"": OPSET, "ai.onnx.ml": _ML_OPSET},
        )
        model.ir_version = IR_VERSION
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
        strange = skops.io.get_untrusted_types(file=path)
    except Exception as error:  # skops raises what its parts raise for a file that is none
        raise InvalidData(f"skops must read the file, it says: {error}; save it again with skops.io.dump") from error
    if strange := [each for each in map(str, strange) if each not in _TREES]:
        raise InvalidData(
            f"a skops file may hold the types of scikit-learn and NumPy, this one holds {', '.join(strange)}, whose "
            "code could be anything; use scikit-learn's own transformers, or save it as ONNX"
        )
    try:
        return skops.io.load(path, trusted=list(_TREES))
    except Exception as error:
        raise InvalidData(
            f"skops must load the file, it says: {error}; save it with the scikit-learn of here"
        ) from error


@dataclass(frozen=True)
class _Nodes:
    """The nodes of a tree: `thresholds` can be written. A leaf has no children, its numbers do not count."""

    thresholds: Array
    left: Array
    right: Array
    columns: Array
    leaves: Array
    features: int

    def check(self) -> None:
        """Raises InvalidData where a node points out of the tree, back, or at a column that is not there."""
        inner = ~self.leaves
        own = np.arange(len(inner))[inner]
        children = np.stack([self.left[inner], self.right[inner]]).astype(np.int64)
        columns = self.columns[inner].astype(np.int64)
        if (
            (children <= own).any()
            or (children >= len(inner)).any()
            or (columns < 0).any()
            or (columns >= self.features).any()
        ):
            raise InvalidData(
                "the nodes of a tree point forward, at nodes and columns that there are, here they do not; save it again"
            )


def _trees(part: Any, features: int = 0, seen: set[int] | None = None) -> Iterator[_Nodes]:
    """Yield the nodes of all trees inside an estimator. A tree in no estimator that says how many features it takes has none.

    Raises InvalidData before it looks into a tree that says it is larger than what it holds.
    """
    seen = set() if seen is None else seen
    if id(part) in seen:
        return
    seen.add(id(part))
    features = int(getattr(part, "n_features_in_", features))
    _check_members(part)
    if type(part).__name__ == "Tree":
        _require(0 < part.node_count == part.capacity, "as many nodes as it says")
        left, right = part.children_left, part.children_right
        yield _Nodes(part.threshold, left, right, part.feature, left == -1, min(features, int(part.n_features)))
    elif type(part).__name__ == "TreePredictor":  # of histogram gradient boosting
        nodes = part.nodes
        _require(len(nodes) > 0, "nodes")
        leaves = nodes["is_leaf"].astype(bool)
        yield _Nodes(nodes["num_threshold"], nodes["left"], nodes["right"], nodes["feature_idx"], leaves, features)
    elif isinstance(part, list | tuple) or (isinstance(part, np.ndarray) and part.dtype == object):
        for each in list(part.flat) if isinstance(part, np.ndarray) else part:
            yield from _trees(each, features, seen)
    elif isinstance(part, dict):
        for each in part.values():
            yield from _trees(each, features, seen)
    elif hasattr(part, "__dict__"):
        for each in vars(part).values():
            yield from _trees(each, features, seen)


def _check_members(part: Any) -> None:
    """Raises InvalidData where a tree of an ensemble takes other features than it is handed: nothing asks it again."""
    from sklearn.ensemble import BaseEnsemble

    if not isinstance(part, BaseEnsemble) or not hasattr(part, "estimators_"):
        return
    members = list(np.asarray(part.estimators_, object).flat)
    chosen = getattr(part, "estimators_features_", None)
    handed = [int(part.n_features_in_)] * len(members) if chosen is None else [len(columns) for columns in chosen]
    for member, width in zip(members, handed, strict=False):
        if hasattr(member, "tree_"):
            _require(int(member.n_features_in_) == int(member.tree_.n_features) == width, "its ensemble's features")
    _require(len(handed) == len(members), "its features")


def _require(holds: bool, what: str) -> None:
    if not holds:
        raise InvalidData(f"a tree has {what}, one of the file has not; fit the model and save it again")


def _round_down(thresholds: Array) -> None:
    """Round to float32, in place: x <= t is x <= (t rounded down) for every x of float32, which the graph's rows are."""
    near = thresholds.astype(np.float32)
    thresholds[:] = np.where(near > thresholds, np.nextafter(near, np.float32(-np.inf)), near)
