"""Trees: fewer leaves (cost-complexity), leaf values in INT8, and the operator that says the same in a third of the bytes.

ai.onnx.ml 5 has one `TreeEnsemble` for what `TreeEnsembleRegressor` says with a word and a dozen numbers a node: leaves are a table of
their own, which nodes may share. With 255 values for leaves (INT8 and one scale) that table has 255 rows, however many leaves there
are. Thresholds stay float32: the operator takes them in no smaller type, so rounding them would save nothing in the file.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from fleetml.learn.compression.compressible import Compressible, Data

OLD, NEW = "TreeEnsembleRegressor", "TreeEnsemble"
_DOMAIN, _OPSET = "ai.onnx.ml", 5
_MODES = {b"BRANCH_LEQ": 0, b"BRANCH_LT": 1, b"BRANCH_GTE": 2, b"BRANCH_GT": 3, b"BRANCH_EQ": 4, b"BRANCH_NEQ": 5}
_COMPARE = (np.less_equal, np.less, np.greater_equal, np.greater, np.equal, np.not_equal)
_LEVELS = 127
_AGGREGATES = {b"AVERAGE": 0, b"SUM": 1}
Ints = npt.NDArray[np.int64]
Numbers = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Ensemble:
    """Trees as arrays over all nodes: `yes`, `no` are places of nodes (-1 at a leaf), `value` a threshold or a leaf's."""

    roots: Ints
    feature: Ints
    mode: Ints
    value: Numbers
    missing_yes: Ints
    yes: Ints
    no: Ints

    @property
    def leaf(self) -> npt.NDArray[np.bool_]:
        return self.yes < 0


def trees_of(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    """Return the nodes that are ensembles of trees with one answer, as trainings write them."""
    nodes = [node for node in model.graph.node if node.op_type == OLD]
    return [node for node in nodes if _attributes(node).get("n_targets", 1) == 1]


def fewer_leaves(model: Compressible, amount: float, data: Data) -> Compressible:
    """Return the graph with that share of the leaves, and its trees written short.

    Two leaves become one, their mean, where that adds the least squared error on the rows to calibrate with (each leaf
    counts as one row more, so that no leaf is free).
    """
    return _rewritten(model, amount, data, levels=False)


def int8_leaves(model: Compressible, amount: float, data: Data) -> Compressible:
    """Return the graph with that share of the leaves, their values rounded to 255 levels, and its trees written short."""
    return _rewritten(model, amount, data, levels=True)


def _rewritten(model: Compressible, amount: float, data: Data, levels: bool) -> Compressible:
    made = onnx.ModelProto()
    made.CopyFrom(model.graph)
    for node in trees_of(made):
        ensemble = read(node)
        if amount < 1:
            ensemble = merged(ensemble, _visits(ensemble, _rows(model.graph, node.input[0], data)), amount)
        if levels:
            ensemble = _rounded(ensemble)
        base = _attributes(node).get("base_values") or [0.0]
        node.CopyFrom(_written(node, ensemble))
        if base[0]:  # the new operator has none
            _add_after(made.graph, node, base[0])
    for opset in made.opset_import:
        opset.version = _OPSET if opset.domain == _DOMAIN else opset.version
    name = f"{'int8_leaves' if levels else 'short_trees'} {amount:.2g}"
    return Compressible(data.finished(made), None, (*model.steps, name))


def _add_after(graph: onnx.GraphProto, node: onnx.NodeProto, value: float) -> None:
    said = node.output[0]
    node.output[0] = f"{said}_without_base"
    graph.initializer.append(numpy_helper.from_array(np.array([value], np.float32), f"{said}_base"))
    place = next(at for at, each in enumerate(graph.node) if each is node or list(each.output) == [node.output[0]])
    graph.node.insert(place + 1, helper.make_node("Add", [node.output[0], f"{said}_base"], [said]))


def read(node: onnx.NodeProto) -> Ensemble:
    """Return the trees of a TreeEnsembleRegressor."""
    said = _attributes(node)
    keys = list(zip(said["nodes_treeids"], said["nodes_nodeids"], strict=True))
    place = {key: at for at, key in enumerate(keys)}
    leaf = np.array([mode == b"LEAF" for mode in said["nodes_modes"]])
    value = np.array(said["nodes_values"], np.float64)
    value[leaf] = 0
    for tree, number, weight in zip(
        said["target_treeids"], said["target_nodeids"], said["target_weights"], strict=True
    ):
        value[place[tree, number]] += weight
    yes, no = (
        np.array([-1 if end else place[tree, to] for end, (tree, _), to in zip(leaf, keys, said[name], strict=True)])
        for name in ("nodes_truenodeids", "nodes_falsenodeids")
    )
    children = {*yes.tolist(), *no.tolist()}
    return Ensemble(
        roots=np.array([at for at in range(len(keys)) if at not in children]),
        feature=np.array(said["nodes_featureids"]),
        mode=np.array([_MODES.get(mode, 0) for mode in said["nodes_modes"]]),
        value=value,
        missing_yes=np.array(said.get("nodes_missing_value_tracks_true") or np.zeros(len(keys), int)),
        yes=yes,
        no=no,
    )


def _written(node: onnx.NodeProto, trees: Ensemble) -> onnx.NodeProto:
    """Return the TreeEnsemble that answers what the trees do; equal leaves are one."""
    inner = _inner(trees)
    number = {at: k for k, at in enumerate(inner)}
    weights, leaf_number = np.unique(trees.value[trees.leaf].astype(np.float32), return_inverse=True)
    of_leaf = dict(zip(np.flatnonzero(trees.leaf).tolist(), leaf_number.tolist(), strict=True))
    ends = {side: [getattr(trees, side)[at] for at in inner] for side in ("yes", "no")}
    # A tree that is one leaf needs a node all the same: both ways lead to the leaf
    ends = {side: [at if to < 0 else to for at, to in zip(inner, tos, strict=True)] for side, tos in ends.items()}
    missing = trees.missing_yes[inner]
    said = _attributes(node)
    return helper.make_node(
        NEW,
        list(node.input),
        list(node.output),
        domain=_DOMAIN,
        n_targets=1,
        aggregate_function=_AGGREGATES[said.get("aggregate_function", b"SUM")],
        post_transform=0,
        tree_roots=[number[root] for root in trees.roots.tolist()],
        nodes_featureids=trees.feature[inner].tolist(),
        nodes_modes=numpy_helper.from_array(trees.mode[inner].astype(np.uint8)),
        nodes_splits=numpy_helper.from_array(trees.value[inner].astype(np.float32)),
        nodes_truenodeids=[of_leaf.get(at, number.get(at)) for at in ends["yes"]],
        nodes_falsenodeids=[of_leaf.get(at, number.get(at)) for at in ends["no"]],
        nodes_trueleafs=[int(at in of_leaf) for at in ends["yes"]],
        nodes_falseleafs=[int(at in of_leaf) for at in ends["no"]],
        leaf_targetids=[0] * len(weights),
        leaf_weights=numpy_helper.from_array(weights),
        **({"nodes_missing_value_tracks_true": missing.tolist()} if missing.any() else {}),
    )


def _inner(trees: Ensemble) -> list[int]:
    """Return the nodes to write, each tree's root first: those that are no leaf, and roots that are."""
    found = []
    for root in trees.roots.tolist():
        stack = [root]
        while stack:
            at = stack.pop()
            if at == root or not trees.leaf[at]:
                found.append(at)
            if not trees.leaf[at]:
                stack += [int(trees.no[at]), int(trees.yes[at])]
    return found


def merged(trees: Ensemble, visits: Ints, amount: float) -> Ensemble:
    """Return the trees with that share of their leaves; `visits` [nodes] counts the rows that come by."""
    value, yes, no, weight = trees.value.copy(), trees.yes.copy(), trees.no.copy(), visits.astype(np.float64) + 1
    parent = np.full(len(value), -1)
    inner = np.flatnonzero(~trees.leaf)
    parent[yes[inner]] = parent[no[inner]] = inner

    def cost(at: np.integer | int) -> tuple[float, int]:
        left, right = weight[yes[at]], weight[no[at]]
        return float(left * right / (left + right) * (value[yes[at]] - value[no[at]]) ** 2), int(at)

    queue = [cost(at) for at in inner if yes[yes[at]] < 0 and yes[no[at]] < 0]
    heapq.heapify(queue)
    leaves = int(trees.leaf.sum())
    least = max(len(trees.roots), round(amount * leaves))
    while queue and leaves > least:
        _, at = heapq.heappop(queue)
        left, right = weight[yes[at]], weight[no[at]]
        value[at] = (left * value[yes[at]] + right * value[no[at]]) / (left + right)
        weight[at], yes[at], no[at] = left + right, -1, -1
        leaves -= 1
        above = parent[at]
        if above >= 0 and yes[yes[above]] < 0 and yes[no[above]] < 0:
            heapq.heappush(queue, cost(above))
    return replace(trees, value=value, yes=yes, no=no)


def _rounded(trees: Ensemble) -> Ensemble:
    largest = np.abs(trees.value[trees.leaf]).max(initial=0)
    step = largest / _LEVELS or 1.0
    return replace(trees, value=np.where(trees.leaf, np.rint(trees.value / step) * step, trees.value))


def _visits(trees: Ensemble, rows: npt.NDArray[np.float32]) -> Ints:
    """Return how many rows come by each node."""
    counts = np.zeros(len(trees.value), np.int64)
    splits = trees.value.astype(np.float32)
    for root in trees.roots.tolist():
        stack = [(root, np.arange(len(rows)))]
        while stack:
            at, here = stack.pop()
            counts[at] += len(here)
            if not trees.leaf[at] and len(here):
                taken = rows[here, trees.feature[at]]
                true = _COMPARE[trees.mode[at]](taken, splits[at]) | (np.isnan(taken) & bool(trees.missing_yes[at]))
                stack += [(int(trees.yes[at]), here[true]), (int(trees.no[at]), here[~true])]
    return counts


def _rows(model: onnx.ModelProto, name: str, data: Data) -> npt.NDArray[np.float32]:
    """Return what the rows to calibrate with are once they reach the trees."""
    from fleetml.learn.forecaster import session

    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    probe.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    loaded = session(probe.SerializeToString())
    return np.concatenate([loaded.run([name], dict(feed))[0] for feed in data.feeds()])


def _attributes(node: onnx.NodeProto) -> dict[str, Any]:
    return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
