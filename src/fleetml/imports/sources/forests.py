"""scikit-learn's trees in a skops file: their compiled code follows the numbers of the file wherever they point."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx

from fleetml.errors import InvalidData
from fleetml.imports.arrays import Array

CATEGORIES = (
    "histogram gradient boosting on columns of categories has no counterpart in its converter; fit it on numbers: "
    "without categorical_features, behind a OneHotEncoder or OrdinalEncoder"
)


@dataclass(frozen=True)
class Nodes:
    """The nodes of a tree: `thresholds` can be written. A leaf has no children, its numbers do not count.

    `missing_left`: where a missing value goes, None where the converter knows it.
    """

    thresholds: Array
    left: Array
    right: Array
    columns: Array
    leaves: Array
    features: int
    missing_left: Array | None = None

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

    def round_down(self) -> None:
        """Round to float32, in place: x <= t is x <= (t rounded down) for every x of float32, which the graph's rows are."""
        near = self.thresholds.astype(np.float32)
        self.thresholds[:] = np.where(near > self.thresholds, np.nextafter(near, np.float32(-np.inf)), near)

    def signature(self) -> bytes:
        """Return what tells the tree from others, in the file and in a graph (`tell_missing`)."""
        inner = ~self.leaves
        return _signature(inner, self.columns, self.left, self.right, self.thresholds)


def _signature(inner: Array, columns: Array, left: Array, right: Array, thresholds: Array) -> bytes:
    parts = (part[inner].astype(np.int64).tobytes() for part in (columns, left, right))
    return b"".join((np.packbits(inner).tobytes(), *parts, thresholds[inner].astype(np.float32).tobytes()))


def tell_missing(model: onnx.ModelProto, trees: Sequence[Nodes]) -> None:
    """Write into a graph's trees which way missing values go, which the converter leaves out for all but histogram boosting."""
    known = {tree.signature(): tree for tree in trees if tree.missing_left is not None}
    for node in model.graph.node:
        held = {attribute.name: attribute for attribute in node.attribute}
        if "nodes_missing_value_tracks_true" not in held:
            continue
        numbers = {
            name: np.array(held[f"nodes_{name}"].ints)
            for name in ("treeids", "nodeids", "featureids", "truenodeids", "falsenodeids")
        }
        values = np.array(held["nodes_values"].floats, np.float32)
        inner = np.array([mode != b"LEAF" for mode in held["nodes_modes"].strings])
        missing_left = np.array(held["nodes_missing_value_tracks_true"].ints)
        for tree in np.unique(numbers["treeids"]):
            places = np.flatnonzero(numbers["treeids"] == tree)
            places = places[np.argsort(numbers["nodeids"][places])]
            columns, left, right = (numbers[name][places] for name in ("featureids", "truenodeids", "falsenodeids"))
            found = known.get(_signature(inner[places], columns, left, right, values[places]))
            if found is not None and found.missing_left is not None:
                missing_left[places] = np.where(found.leaves, 0, found.missing_left)
        del held["nodes_missing_value_tracks_true"].ints[:]
        held["nodes_missing_value_tracks_true"].ints.extend(missing_left.tolist())


def of(part: Any, features: int = 0, seen: set[int] | None = None) -> Iterator[Nodes]:
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
        yield _of_tree(part, features)
    elif type(part).__name__ == "TreePredictor":  # of histogram gradient boosting
        yield _of_histograms(part, features)
    else:
        for each in _parts(part):
            yield from of(each, features, seen)


def _of_tree(part: Any, features: int) -> Nodes:
    _require(0 < part.node_count == part.capacity, "as many nodes as it says")
    left, missing = part.children_left, part.missing_go_to_left
    width = min(features, int(part.n_features))
    return Nodes(part.threshold, left, part.children_right, part.feature, left == -1, width, missing)


def _of_histograms(part: Any, features: int) -> Nodes:
    nodes = part.nodes
    _require(len(nodes) > 0, "nodes")
    leaves = nodes["is_leaf"].astype(bool)
    if nodes["is_categorical"][~leaves].any():  # compiled code would follow their numbers of bitsets unchecked
        raise InvalidData(CATEGORIES)
    return Nodes(nodes["num_threshold"], nodes["left"], nodes["right"], nodes["feature_idx"], leaves, features)


def _parts(part: Any) -> Iterable[Any]:
    """Return what something holds that may hold trees."""
    if isinstance(part, list | tuple):
        return part
    if isinstance(part, np.ndarray):
        return part.flat if part.dtype == object else ()
    if isinstance(part, dict):
        return part.values()
    return vars(part).values() if hasattr(part, "__dict__") else ()


def _check_members(part: Any) -> None:
    """Raises InvalidData where a tree of an ensemble takes other features than it is handed: nothing asks it again."""
    from sklearn.ensemble import BaseEnsemble

    if not isinstance(part, BaseEnsemble) or not hasattr(part, "estimators_"):
        return
    held = part.estimators_  # forests and pipelines have a length: an array made of a list would hold their members
    members = list(held.flat if isinstance(held, np.ndarray) else held)
    chosen = getattr(part, "estimators_features_", None)
    handed = [int(part.n_features_in_)] * len(members) if chosen is None else [len(columns) for columns in chosen]
    for member, width in zip(members, handed, strict=False):
        if hasattr(member, "tree_"):
            _require(int(member.n_features_in_) == int(member.tree_.n_features) == width, "its ensemble's features")
    _require(len(handed) == len(members), "its features")


def _require(holds: bool, what: str) -> None:
    if not holds:
        raise InvalidData(f"a tree has {what}, one of the file has not; fit the model and save it again")
