"""Trees of scikit-learn, LightGBM and XGBoost as ONE operator, made of their arrays.

The usual converters walk the trees node by node in Python: a second for a megabyte of graph, which a search in a minute's
budget pays for each member. The first two ask x <= t of a float32 x and a float64 t, which is x <= (t rounded down to
float32); XGBoost asks x < t, which is x <= (the float32 before t).
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import AttributeProto

from fleetml.learn.builder import Builder

Array = npt.NDArray[Any]
_MISSING_IS_NAN = 2  # LightGBM: how a question treats what is missing; else NaN counts as 0


@dataclass(frozen=True)
class Tree:
    """Questions [Q] and leaves [L, C]: nodes 0 … Q-1 are questions (node 0 the first), Q … Q+L-1 leaves.

    A row goes to `left` where its feature is at most the threshold, or where it is NaN and `missing_left` holds.
    """

    feature: Array
    threshold: Array
    left: Array
    right: Array
    missing_left: Array
    leaves: Array


def of_forest(forest: Any, classifies: bool) -> list[Tree]:
    """Return the trees of a fitted forest of scikit-learn; its answer is the sum of their leaves [·, C]."""
    return [_of_sklearn(one.tree_, classifies, len(forest.estimators_)) for one in forest.estimators_]


def _of_sklearn(tree: Any, classifies: bool, count: int) -> Tree:
    asks = tree.children_left >= 0
    questions = int(asks.sum())
    place = np.where(asks, np.cumsum(asks) - 1, questions + np.cumsum(~asks) - 1)  # of each node in our order
    values = tree.value[~asks, 0, :]
    leaves = values / values.sum(axis=1, keepdims=True) if classifies else values
    return Tree(
        feature=tree.feature[asks],
        threshold=tree.threshold[asks],
        left=place[tree.children_left[asks]],
        right=place[tree.children_right[asks]],
        missing_left=np.zeros(questions, bool),  # forests are given no NaN
        leaves=leaves / count,
    )


def of_lightgbm(text: str) -> tuple[list[Tree], str]:
    """Return the trees of a model as LightGBM writes it, and its objective; its raw score is the sum of their leaves [·, C].

    Raises ValueError for a question of categories: ours are numbers.
    """
    head, *blocks = text.partition("\nend of trees")[0].split("\nTree=")
    known = dict(line.split("=", 1) for line in head.splitlines() if "=" in line)
    width = int(known["num_tree_per_iteration"])
    return [_of_block(block, at % width, width) for at, block in enumerate(blocks)], known["objective"]


def _of_block(block: str, column: int, width: int) -> Tree:
    found = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
    values = np.array(found["leaf_value"].split(), dtype=np.float64)
    leaves = np.zeros((len(values), width))
    leaves[:, column] = values
    if len(values) == 1:
        return _leaf(leaves)
    kinds, left, right = (
        np.array(found[name].split(), dtype=np.int64) for name in ("decision_type", "left_child", "right_child")
    )
    if (kinds & 1).any():
        raise ValueError("a question of categories has no threshold")
    threshold = np.array(found["threshold"].split(), dtype=np.float64)
    questions = len(threshold)
    is_nan = (kinds >> 2) & 3 == _MISSING_IS_NAN
    return Tree(
        feature=np.array(found["split_feature"].split(), dtype=np.int64),
        threshold=threshold,
        left=np.where(left < 0, questions - left - 1, left),
        right=np.where(right < 0, questions - right - 1, right),
        missing_left=np.where(is_nan, kinds & 2 > 0, threshold >= 0),
        leaves=leaves,
    )


def _leaf(said: Array) -> Tree:
    """Return a tree that asks nothing and says [1, C]."""
    none = np.zeros(0, np.int64)
    return Tree(none, none.astype(np.float64), none, none, none.astype(bool), said)


def of_xgboost(model: bytes, classifies: bool) -> list[Tree]:
    """Return the trees of a model as XGBoost writes it (JSON); its raw score is the sum of their leaves [·, C].

    The last one is the score it begins with.
    """
    learner = json.loads(model)["learner"]
    about, grown = learner["learner_model_param"], learner["gradient_booster"]["model"]
    width = max(1, int(about["num_class"]))
    base = np.array(about["base_score"].strip("[]").split(","), dtype=np.float64)
    if classifies and width == 1:  # it is told as a probability
        base = np.log(base / (1 - base))
    found = [
        _of_node_lists(tree, column, width) for tree, column in zip(grown["trees"], grown["tree_info"], strict=True)
    ]
    return [*found, _leaf(np.broadcast_to(base, (1, width)))]


def _of_node_lists(tree: Mapping[str, Any], column: int, width: int) -> Tree:
    left, right = np.array(tree["left_children"]), np.array(tree["right_children"])
    conditions = np.array(tree["split_conditions"], dtype=np.float32)
    asks = left >= 0
    questions = int(asks.sum())
    place = np.where(asks, np.cumsum(asks) - 1, questions + np.cumsum(~asks) - 1)
    leaves = np.zeros((len(asks) - questions, width))
    leaves[:, column] = conditions[~asks]
    return Tree(
        feature=np.array(tree["split_indices"])[asks],
        threshold=np.nextafter(conditions[asks], np.float32(-np.inf)).astype(np.float64),
        left=place[left[asks]],
        right=place[right[asks]],
        missing_left=np.array(tree["default_left"], dtype=bool)[asks],
        leaves=leaves,
    )


def add(made: Builder, rows: str, trees: Sequence[Tree]) -> str:
    """Add the sum [R, C] of what trees say of `rows` float32 [R, F]."""
    result = made.op("TreeEnsembleRegressor", rows, domain="ai.onnx.ml", n_targets=int(trees[0].leaves.shape[1]))
    sizes = np.array([len(tree.feature) + len(tree.leaves) for tree in trees])
    asks = np.concatenate([np.arange(size) < len(tree.feature) for tree, size in zip(trees, sizes, strict=True)])
    of_tree, of_node = np.repeat(np.arange(len(trees)), sizes), np.concatenate([np.arange(size) for size in sizes])
    threshold = np.concatenate([tree.threshold for tree in trees])
    integers = {
        "nodes_treeids": of_tree,
        "nodes_nodeids": of_node,
        "nodes_featureids": _spread(asks, [tree.feature for tree in trees]),
        "nodes_truenodeids": _spread(asks, [tree.left for tree in trees]),
        "nodes_falsenodeids": _spread(asks, [tree.right for tree in trees]),
    }
    if any(tree.missing_left.any() for tree in trees):
        integers["nodes_missing_value_tracks_true"] = _spread(asks, [tree.missing_left for tree in trees])
    weights = np.concatenate([tree.leaves for tree in trees])
    said = weights != 0
    said[~said.any(axis=1), 0] = True  # a leaf says something
    leaf, target = np.nonzero(said)
    integers |= {"target_treeids": of_tree[~asks][leaf], "target_nodeids": of_node[~asks][leaf], "target_ids": target}
    floats = {"nodes_values": _spread(asks, [rounded_down(threshold)]), "target_weights": weights[leaf, target]}
    node = made.nodes[-1]
    for name, values in integers.items():
        node.attribute.append(
            AttributeProto(name=name, type=AttributeProto.INTS, ints=values.astype(np.int64).tolist())
        )
    for name, values in floats.items():
        numbers = values.astype(np.float32).tolist()
        node.attribute.append(AttributeProto(name=name, type=AttributeProto.FLOATS, floats=numbers))
    modes = [b"BRANCH_LEQ" if ask else b"LEAF" for ask in asks.tolist()]
    node.attribute.append(AttributeProto(name="nodes_modes", type=AttributeProto.STRINGS, strings=modes))
    return result


def _spread(asks: npt.NDArray[np.bool_], values: Sequence[Array]) -> Array:
    """Return values of questions as values of all nodes, 0 of leaves."""
    every = np.zeros(len(asks), np.float64)
    every[asks] = np.concatenate(values)
    return every


def rounded_down(values: Array) -> npt.NDArray[np.float32]:
    """Return the largest float32 that is at most each value."""
    near = values.astype(np.float32)
    return np.where(near > values, np.nextafter(near, np.float32(-np.inf)), near)


def forest_graph(forest: Any, features: int, classifies: bool) -> onnx.ModelProto:
    """Return a forest as a graph rows [R, F] → probabilities [R, C] or values [R, 1]."""
    made, trees = Builder(), of_forest(forest, classifies)
    made.op("Identity", add(made, "rows", trees), name="said")
    return made.model({"rows": ["batch", features]}, {"said": ["batch", trees[0].leaves.shape[1]]}, "trees")


def lightgbm_graph(estimator: Any, features: int, classifies: bool) -> onnx.ModelProto:
    """Return a model of LightGBM as a graph rows [R, F] → probabilities [R, C] or values [R, 1]."""
    trees, objective = of_lightgbm(estimator.booster_.model_to_string())
    slope = float(dict(part.split(":") for part in objective.split()[1:] if ":" in part).get("sigmoid", 1))
    return _boosted(trees, features, classifies, slope)


def xgboost_graph(estimator: Any, features: int, classifies: bool) -> onnx.ModelProto:
    """Return a model of XGBoost as a graph rows [R, F] → probabilities [R, C] or values [R, 1]."""
    booster = estimator.get_booster()
    best = booster.attr("best_iteration")
    booster = booster[: int(best) + 1] if best is not None else booster
    return _boosted(of_xgboost(bytes(booster.save_raw("json")), classifies), features, classifies)


def _boosted(trees: Sequence[Tree], features: int, classifies: bool, slope: float = 1.0) -> onnx.ModelProto:
    """Scores → probabilities: of two classes sigmoid(slope · score) is that of the second; values are scores."""
    made = Builder()
    score, width = add(made, "rows", trees), trees[0].leaves.shape[1]
    if not classifies:
        made.op("Identity", score, name="said")
    elif width > 1:
        made.op("Softmax", score, name="said", axis=1)
    else:
        second = made.op("Sigmoid", made.op("Mul", score, made.constant([[slope]])))
        made.op("Concat", made.op("Sub", made.constant([[1.0]]), second), second, name="said", axis=1)
        width = 2
    return made.model({"rows": ["batch", features]}, {"said": ["batch", width]}, "trees")


def comparisons(model: onnx.ModelProto) -> int:
    """Return how many questions of its trees one row is asked at most: the sum of their depths."""
    return sum(_depths(node) for node in model.graph.node if node.op_type.startswith("TreeEnsemble"))


def _depths(node: onnx.NodeProto) -> int:
    found = {one.name: one for one in node.attribute}
    trees, numbers = (np.array(found[f"nodes_{name}"].ints) for name in ("treeids", "nodeids"))
    starts = np.searchsorted(trees, trees)  # a tree's nodes are beside each other, by their numbers
    asks = np.array([mode != b"LEAF" for mode in found["nodes_modes"].strings])
    children = [starts + np.array(found[f"nodes_{name}nodeids"].ints) for name in ("true", "false")]
    now, total = np.flatnonzero(numbers == 0), 0
    while len(now := now[asks[now]]):
        total += len(np.unique(trees[now]))
        now = np.concatenate([each[now] for each in children])
    return total
