"""What a graph takes in memory: measured in a process of its own, counted alike everywhere."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from fleetml.errors import FleetMLError
from fleetml.learn import footprint
from fleetml.learn.builder import Builder
from fleetml.learn.graph import InvalidGraph


def product(width: int) -> bytes:
    """One matrix product of `width` by `width` weights, four bytes each."""
    made = Builder()
    made.op("MatMul", "x", made.constant(np.ones((width, width), np.float32)), name="y")
    return made.model({"x": ["batch", width]}, {"y": ["batch", width]}, "product").SerializeToString()


def forest(trees: int, depth: int = 10) -> bytes:
    """Full binary trees over five numbers, numbered as a heap is."""
    inner, every = 2**depth - 1, 2 ** (depth + 1) - 1
    places, leaves = np.arange(every), np.arange(inner, every)
    branches = places < inner
    nodes = {
        "nodes_treeids": np.repeat(np.arange(trees), every),
        "nodes_nodeids": np.tile(places, trees),
        "nodes_featureids": np.tile(np.where(branches, places % 5, 0), trees),
        "nodes_truenodeids": np.tile(np.where(branches, 2 * places + 1, 0), trees),
        "nodes_falsenodeids": np.tile(np.where(branches, 2 * places + 2, 0), trees),
        "nodes_missing_value_tracks_true": np.zeros(trees * every, np.int64),
        "nodes_values": np.tile(np.where(branches, places / every, 0.0), trees),
        "nodes_hitrates": np.ones(trees * every),
        "nodes_modes": np.tile(np.where(branches, "BRANCH_LEQ", "LEAF"), trees),
        "target_treeids": np.repeat(np.arange(trees), len(leaves)),
        "target_nodeids": np.tile(leaves, trees),
        "target_ids": np.zeros(trees * len(leaves), np.int64),
        "target_weights": np.tile(leaves / every, trees),
    }
    made = Builder()
    lists = {name: values.tolist() for name, values in nodes.items()}
    made.op("TreeEnsembleRegressor", "x", domain="ai.onnx.ml", n_targets=1, name="y", **lists)
    model = made.model({"x": ["batch", 5]}, {"y": ["batch", 1]}, "forest")
    model.opset_import.append(helper.make_opsetid("ai.onnx.ml", 3))
    return model.SerializeToString()


def wide(numbers: int) -> bytes:
    """A row becomes so many numbers, and one again: no weights, much in between."""
    made = Builder()
    spread = made.op("Expand", "x", made.integers(1, numbers))
    made.op("ReduceSum", made.op("Exp", spread), made.integers(1), keepdims=1, name="y")
    return made.model({"x": ["batch", 1]}, {"y": ["batch", 1]}, "wide").SerializeToString()


def texts() -> bytes:
    """What takes texts and whole numbers, as tables do."""
    name, kind = helper.make_tensor_value_info, TensorProto
    inputs = [name("c", kind.STRING, ["batch", 1]), name("d", kind.INT64, ["batch", 1])]
    outputs = [name("e", kind.STRING, ["batch", 1]), name("f", kind.INT64, ["batch", 1])]
    nodes = [helper.make_node("Identity", ["c"], ["e"]), helper.make_node("Identity", ["d"], ["f"])]
    made = helper.make_graph(nodes, "texts", inputs, outputs)
    return helper.make_model(made, ir_version=10, opset_imports=[helper.make_opsetid("", 18)]).SerializeToString()


def test_what_is_measured_is_what_is_counted() -> None:
    """Of what weighs most of its kind: weights, trees, what is in between; of what weighs nothing."""
    graphs = {"weights": product(2000), "trees": forest(20), "between": wide(4_000_000), "texts": texts()}
    measured = footprint.measure(graphs)
    counted = {name: footprint.estimate(graph) for name, graph in graphs.items()}
    assert 30 < measured["weights"] < 80, "16 MB of weights, in some copies"
    assert measured["texts"] < 10
    for name in ("weights", "trees", "between"):
        assert counted[name] == pytest.approx(measured[name], rel=0.5), name
    assert counted["texts"] == pytest.approx(0.012, abs=0.005)


def test_a_larger_graph_takes_more() -> None:
    small, large = product(1000), product(2000)
    measured = footprint.measure({"small": small, "large": large, "again": small})
    assert list(measured) == ["small", "large", "again"]
    assert measured["large"] > 2 * measured["small"]
    assert measured["again"] == pytest.approx(measured["small"], abs=3)
    assert footprint.estimate(large) > 2 * footprint.estimate(small)


def test_a_graph_that_cannot_be_asked_is_refused_in_words() -> None:
    with pytest.raises(InvalidGraph, match="ONNX Runtime must load the graph"):
        footprint.measure({"good": texts(), "bad": b"no graph"})
    short = onnx.load_from_string(product(4))
    short.graph.input[0].type.tensor_type.shape.dim[1].dim_param = "any"
    with pytest.raises(InvalidGraph, match="must answer a row of ones"):
        footprint.measure({"bad": short.SerializeToString()})


def test_a_process_that_dies_or_dawdles_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def dies(file: Path) -> float:
        import os
        import signal

        os.kill(os.getpid(), signal.SIGKILL)
        return 0.0

    monkeypatch.setattr(footprint, "_taken", dies)  # in a fork of this process
    with pytest.raises(InvalidGraph, match=r"ended with status -9 \(memory that runs out ends so\)"):
        footprint._grown(tmp_path)
    monkeypatch.setattr(footprint, "SECONDS", 0.0)
    with pytest.raises(InvalidGraph, match=r"must load and answer a row in 0\.0 s"):
        footprint.measure({"any": texts()})


def test_where_the_system_tells_no_peak_it_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "status").write_text("Name: bash\nVmRSS: 12 kB\n")
    for said in ("status", "nothing"):
        monkeypatch.setattr(footprint, "_STATUS", tmp_path / said)
        assert footprint.measure({"any": product(10)}) == {"any": footprint.estimate(product(10))}


def test_the_process_that_measures_says_numbers_or_why_not(
    graph: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert footprint.main([str(graph())]) == 0
    assert float(capsys.readouterr().out.strip("[]\n")) >= 0
    (tmp_path / "none").write_bytes(b"none")
    assert footprint.main([str(tmp_path / "none")]) == FleetMLError.exit_code
    assert "error: ONNX Runtime must load" in capsys.readouterr().err
