"""A graph that answers otherwise is refused."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from fleetml.errors import InvalidData
from fleetml.imports import arrays, child, equality
from fleetml.learn.graph import InvalidGraph
from tests.imports.models import WRITTEN


@pytest.fixture
def made(tmp_path: Path) -> tuple[Path, arrays.Arrays, arrays.Arrays]:
    """A converted booster: its graph, what it was asked and what it answered."""
    WRITTEN["xgboost"](tmp_path / "original")
    arrays.write(tmp_path / child.GIVEN, {})
    child.convert("xgboost", tmp_path / "original", tmp_path)
    return tmp_path / child.GRAPH, arrays.read(tmp_path / child.INPUTS), arrays.read(tmp_path / child.ANSWERS)


def test_one_threshold_that_differs(made: tuple[Path, arrays.Arrays, arrays.Arrays]) -> None:
    graph, inputs, answers = made
    assert equality.prove(graph, inputs, answers).rows == 256
    model = onnx.load(graph)
    trees = next(node for node in model.graph.node if "TreeEnsemble" in node.op_type)
    values = next(attribute for attribute in trees.attribute if attribute.name == "nodes_values")
    values.floats[0] += 0.5
    graph.write_bytes(model.SerializeToString())
    with pytest.raises(InvalidData, match=r"of probabilities the mean difference is .*nothing is registered"):
        equality.prove(graph, inputs, answers)


def test_other_shapes_missing_values_and_labels(made: tuple[Path, arrays.Arrays, arrays.Arrays]) -> None:
    graph, inputs, answers = made
    said = answers["probabilities"]
    with pytest.raises(InvalidData, match=r"has the shape \[256, 2\]"):
        equality.prove(graph, inputs, {"probabilities": said[:, :1]})
    holes = np.where(np.arange(256)[:, None] == 3, np.nan, said)
    with pytest.raises(InvalidData, match="other values are infinite or no numbers"):
        equality.prove(graph, inputs, {"probabilities": holes})


def test_a_label_counts_but_where_two_classes_are_as_likely(tmp_path: Path) -> None:
    tied = np.array([[0.5, 0.5], [0.2, 0.8]], np.float32)
    right, wrong = np.array([0, 1]), np.array([1, 1])
    ties = equality._ties({"probabilities": tied})
    assert equality._difference("label", wrong, right, ties) is None
    with pytest.raises(InvalidData, match=r"50.00% of the values differ"):
        equality._difference("label", np.array([0, 0]), right, ties)


def test_outputs_that_are_no_tensors(tmp_path: Path) -> None:
    from skl2onnx import convert_sklearn
    from skl2onnx.common.data_types import FloatTensorType
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression().fit([[0.0], [1.0]], [0, 1])
    graph = tmp_path / "graph.onnx"
    graph.write_bytes(convert_sklearn(model, initial_types=[("x", FloatTensorType([None, 1]))]).SerializeToString())
    with pytest.raises(InvalidGraph, match="without ZipMap"):
        equality.prove(graph, {"x": np.zeros((1, 1), np.float32)}, {})


def test_text_is_compared_whole() -> None:
    none = np.zeros(0, bool)
    with pytest.raises(InvalidData, match=r"100.00% of the values differ"):
        equality._difference("label", np.array(["usa"], object), np.array(["us"]), none)
    assert equality._difference("label", np.array([1, 2]), np.array(["1", "2"]), none) is None
    with pytest.raises(InvalidData, match="the mean difference is"):
        equality._difference("score", np.array([0.9, 1.9]), np.array([0, 1]), none)


def test_infinities_have_a_sign() -> None:
    none, said = np.zeros(0, bool), np.array([np.inf, np.nan, 1.0], np.float32)
    assert equality._difference("score", said, said.astype(float), none) is not None
    for other in ([-np.inf, np.nan, 1.0], [np.nan, np.inf, 1.0]):
        with pytest.raises(InvalidData, match="are infinite or no numbers"):
            equality._difference("score", said, np.array(other), none)
