"""Rows to compare on: read as they come, fitted to what the graph takes."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from fleetml.errors import InvalidData, InvalidParameter
from fleetml.imports import arrays, samples


def graph(**inputs: tuple[int, list[int | str]]) -> onnx.ModelProto:
    infos = [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in inputs.items()]
    return helper.make_model(helper.make_graph([], "g", infos, []))


MATRIX = graph(x=(TensorProto.FLOAT, ["batch", 2]))


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_table_by_the_models_names_else_in_order(tmp_path: Path, suffix: str) -> None:
    import polars as pl

    path = tmp_path / f"rows{suffix}"
    frame = pl.DataFrame({"b": [2.0, None], "a": [1.0, 3.0]})
    frame.write_csv(path) if suffix == ".csv" else frame.write_parquet(path)
    given = samples.given(path)
    np.testing.assert_array_equal(samples.inputs(MATRIX, ("a", "b"), given, False)["x"], [[1, 2], [3, np.nan]])
    np.testing.assert_array_equal(samples.inputs(MATRIX, (), given, False)["x"], [[2, 1], [np.nan, 3]])


def test_arrays(tmp_path: Path) -> None:
    np.save(tmp_path / "rows.npy", np.ones((3, 2)))
    assert samples.inputs(MATRIX, (), samples.given(tmp_path / "rows.npy"), False)["x"].dtype == np.float32
    np.savez(tmp_path / "rows.npz", x=np.ones(3), y=np.array(["a", "b", "c"]))
    two = graph(x=(TensorProto.FLOAT, ["n", 1]), y=(TensorProto.STRING, ["n"]))
    found = samples.inputs(two, (), samples.given(tmp_path / "rows.npz"), False)
    assert found["x"].shape == (3, 1)
    assert found["y"].tolist() == ["a", "b", "c"]


def test_drawn_rows_are_the_same_each_time_and_lie_at_thresholds() -> None:
    tree = helper.make_node(
        "TreeEnsembleRegressor",
        ["x"],
        ["y"],
        domain="ai.onnx.ml",
        nodes_featureids=[1, 0],
        nodes_values=[1234.5, 0.0],
        nodes_modes=["BRANCH_LT", "LEAF"],
    )
    made = graph(x=(TensorProto.FLOAT, ["batch", 2]))
    made.graph.node.append(tree)
    rows = samples.inputs(made, (), {}, True)["x"]
    np.testing.assert_array_equal(rows, samples.inputs(made, (), {}, True)["x"])
    assert (np.abs(rows[:, 1] - 1234.5) < 1e-3).sum() > 80
    assert np.isnan(rows).any()
    whole = graph(x=(TensorProto.INT64, ["batch", "words"]), flag=(TensorProto.BOOL, [3]))
    found = samples.inputs(whole, (), {}, True)
    assert found["x"].shape == (samples.ROWS, 8)
    assert found["flag"].shape == (3,)


def test_samples_that_do_not_fit(tmp_path: Path) -> None:
    with pytest.raises(InvalidParameter, match=r"must have the shape \['any', 2\], got \[3, 3\]"):
        samples.inputs(MATRIX, (), {"x": np.ones((3, 3))}, False)
    with pytest.raises(InvalidParameter, match="b is text"):
        samples.inputs(MATRIX, (), {"a": np.ones(3), "b": np.array(["x"] * 3)}, False)
    both = graph(x=(TensorProto.FLOAT, ["n", 1]), y=(TensorProto.FLOAT, ["n", 1]))
    with pytest.raises(InvalidParameter, match="y is missing of x"):
        samples.inputs(both, (), {"x": np.ones(3)}, False)
    sequence = helper.make_tensor_sequence_value_info("s", TensorProto.FLOAT, None)
    odd = helper.make_model(helper.make_graph([], "g", [sequence], []))
    with pytest.raises(InvalidData, match="is a tensor"):
        samples.inputs(odd, (), {}, False)
    for name, content in (("a.npz", b"none"), ("a.npy", b"none"), ("a.parquet", b"none")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InvalidData, match="must be readable"):
            samples.given(tmp_path / name)
    np.save(tmp_path / "objects.npy", np.array([{}], object))
    with pytest.raises(InvalidData, match="must be readable"):
        samples.given(tmp_path / "objects.npy")
    with pytest.raises(InvalidParameter, match=r"are a \.npz"):
        samples.given(tmp_path / "a.xls")


def test_broken_files(tmp_path: Path) -> None:
    import polars as pl

    np.savez(tmp_path / "whole.npz", x=np.ones(1000))
    content = (tmp_path / "whole.npz").read_bytes()
    (tmp_path / "half.npz").write_bytes(content[: len(content) // 2])
    (tmp_path / "damaged.npz").write_bytes(content.replace(b"PK\x01\x02", b"PK\x01\x09"))
    (tmp_path / "empty.npy").write_bytes(b"")
    (tmp_path / "empty.csv").write_bytes(b"")
    pl.DataFrame({"a": [[1, 2]]}).write_parquet(tmp_path / "lists.parquet")
    for name in ("half.npz", "damaged.npz", "empty.npy", "empty.csv", "lists.parquet", "nowhere.npz"):
        with pytest.raises(InvalidData, match=f"{name} is not"):
            samples.given(tmp_path / name)


def test_one_array_under_the_other_suffix(tmp_path: Path) -> None:
    with (tmp_path / "rows.npz").open("wb") as file:
        np.save(file, np.ones((3, 2)))
    assert samples.inputs(MATRIX, (), samples.given(tmp_path / "rows.npz"), False)["x"].shape == (3, 2)


def test_columns_of_any_name_reach_the_child(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("file,allow_pickle,args,a/b.npy\n1,2,3,x\n")
    given = samples.given(tmp_path / "rows.csv")
    arrays.write(tmp_path / "given", given)
    assert {name: a.tolist() for name, a in arrays.read(tmp_path / "given").items()} == {
        "file": [1.0], "allow_pickle": [2.0], "args": [3.0], "a/b.npy": ["x"],
    }  # fmt: skip


def test_answers_are_no_columns(tmp_path: Path) -> None:
    made = graph(x=(TensorProto.FLOAT, ["batch", 2]))
    made.graph.output.append(helper.make_tensor_value_info("said", TensorProto.STRING, ["batch"]))
    rows = {"a": np.ones(3), "said": np.array(["x"] * 3), "b": np.zeros(3)}
    assert samples.inputs(made, (), rows, False)["x"].tolist() == [[1, 0]] * 3
    with pytest.raises(InvalidParameter, match="the answers said alone"):
        samples.inputs(made, (), {"said": rows["said"]}, False)
