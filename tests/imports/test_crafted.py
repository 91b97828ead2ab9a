"""Files that were made to eat memory, to read other files, or to be taken for something else."""

import pickle
import struct
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from fleetml.errors import InvalidData, InvalidParameter
from fleetml.imports import formats, samples
from fleetml.imports.sources import onnx as source
from fleetml.learn.builder import IR_VERSION, OPSET


def written(path: Path, nodes: list[onnx.NodeProto], rows: int = 2) -> Path:
    info = helper.make_tensor_value_info("rows", TensorProto.FLOAT, ["batch", rows])
    said = helper.make_tensor_value_info("said", TensorProto.FLOAT, ["batch", rows])
    model = helper.make_model(
        helper.make_graph(nodes, "g", [info], [said]), opset_imports=[helper.make_opsetid("", OPSET)]
    )
    model.ir_version = IR_VERSION
    path.write_bytes(model.SerializeToString())
    return path


def outside(location: str) -> TensorProto:
    tensor = numpy_helper.from_array(np.zeros(2, np.float32), "weights")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    return tensor


@pytest.mark.parametrize("location", ["weights", "../../secret", "/etc/hostname"])
def test_numbers_in_other_files_wherever_they_are_named(tmp_path: Path, location: str) -> None:
    constant = helper.make_node("Constant", [], ["c"], value=outside(location))
    branch = helper.make_graph([constant], "b", [], [helper.make_tensor_value_info("c", TensorProto.FLOAT, [2])])
    true = helper.make_node("Constant", [], ["true"], value=numpy_helper.from_array(np.array(True)))
    chosen = helper.make_node("If", ["true"], ["d"], then_branch=branch, else_branch=branch)
    for nodes in ([constant, helper.make_node("Add", ["rows", "c"], ["said"])], [true, chosen, helper.make_node("Add", ["rows", "d"], ["said"])]):  # fmt: skip
        with pytest.raises(InvalidData, match="ONE file"):
            source.open(written(tmp_path / "model.onnx", nodes), {})


def test_a_branch_that_grows_huge_where_it_is_folded(tmp_path: Path) -> None:
    """ONNX Runtime computes what no row takes while it loads the graph: 2 ** 62 numbers."""
    size = helper.make_node("Constant", [], ["size"], value=numpy_helper.from_array(np.array([2**62])))
    filled = helper.make_node("ConstantOfShape", ["size"], ["filled"])
    summed = helper.make_node("ReduceSum", ["filled"], ["sum"], keepdims=0)
    branch = helper.make_graph(
        [size, filled, summed], "b", [], [helper.make_tensor_value_info("sum", TensorProto.FLOAT, [])]
    )
    zero = helper.make_node("Constant", [], ["sum"], value=numpy_helper.from_array(np.float32(0)))
    other = helper.make_graph([zero], "o", [], [helper.make_tensor_value_info("sum", TensorProto.FLOAT, [])])
    nodes = [
        helper.make_node("ReduceSum", ["rows"], ["total"], keepdims=0),
        helper.make_node("IsNaN", ["total"], ["never"]),
        helper.make_node("If", ["never"], ["more"], then_branch=branch, else_branch=other),
        helper.make_node("Add", ["rows", "more"], ["said"]),
    ]
    with pytest.raises(InvalidData, match=r"filled has the shape \[4611686018427387904\]"):
        source.open(written(tmp_path / "model.onnx", nodes), {}).run({"rows": np.zeros((1, 2), np.float32)})


def test_outputs_that_are_no_tensors_are_told_of(tmp_path: Path) -> None:
    path = written(tmp_path / "model.onnx", [helper.make_node("Relu", ["rows"], ["said"])])
    model = onnx.load(path)
    model.graph.output[0].type.map_type.key_type = TensorProto.INT64
    path.write_bytes(model.SerializeToString())
    with pytest.raises(InvalidData, match="without ZipMap"):
        source.open(path, {})


def test_an_input_too_large_to_draw(tmp_path: Path) -> None:
    model = onnx.load(written(tmp_path / "model.onnx", [helper.make_node("Relu", ["rows"], ["said"])], rows=2**40))
    with pytest.raises(InvalidData, match="at most 134,217,728 numbers, those of rows"):
        samples.inputs(model, (), {}, missing=False)


@pytest.mark.parametrize("value", [1.5, np.nan])
def test_whole_numbers_are_not_made_of_others(tmp_path: Path, value: float) -> None:
    model = onnx.load(written(tmp_path / "model.onnx", [helper.make_node("Relu", ["rows"], ["said"])]))
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.INT64
    with pytest.raises(InvalidParameter, match="fractions or missing values"):
        samples.inputs(model, (), {"rows": np.array([[1.0, value]])}, missing=False)
    found = samples.inputs(model, (), {"rows": np.array([[1.0, 2.0]])}, missing=False)
    assert found["rows"].dtype == np.int64


class Unpacked:
    """A member of an archive: counts the bytes that were unpacked."""

    def __init__(self, head: bytes) -> None:
        self.head, self.read_bytes = head, 0

    def read(self, size: int = -1) -> bytes:
        assert size >= 0, "the whole member was asked for"
        self.read_bytes += size
        return (self.head + b"0" * size)[:size]


@pytest.mark.parametrize("head", [b"\x8e" + struct.pack("<Q", 1 << 32), b"I" + b"1" * 100, b"\x80\x04"])
def test_of_what_may_be_a_pickle_a_part_is_unpacked(head: bytes) -> None:
    member = Unpacked(head)
    formats.is_pickle(member)  # type: ignore[arg-type]
    assert member.read_bytes <= 1 << 20


def test_a_large_pickle_is_one_by_its_beginning(tmp_path: Path) -> None:
    for protocol in range(6):
        (path := tmp_path / "model").write_bytes(pickle.dumps([b"x" * (3 << 20), "more"], protocol))
        with pytest.raises(InvalidData, match="a pickle runs"):
            formats.recognise(path)
        with zipfile.ZipFile(tmp_path / "archive", "w", zipfile.ZIP_DEFLATED) as archive:
            archive.write(path, "anything")
        with pytest.raises(InvalidData, match="a pickle runs"):
            formats.recognise(tmp_path / "archive")
