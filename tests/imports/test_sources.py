"""Each format: the graph answers as the original; the running server answers as the graph; what cannot be is refused."""

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import onnx
import pytest
import skops.io
import xgboost
from sklearn.compose import make_column_transformer
from sklearn.ensemble import (
    BaggingClassifier,
    BaggingRegressor,
    ExtraTreesRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, MaxAbsScaler, OneHotEncoder, StandardScaler
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeRegressor

from fleetml.errors import InvalidData
from fleetml.imports import arrays, child, equality
from fleetml.imports.conversion import convert
from fleetml.imports.equality import Equality
from fleetml.serving import deployment
from fleetml.serving.deployment import Card
from fleetml.serving.proto import open_inference_pb2 as messages
from fleetml.serving.proto.open_inference_pb2_grpc import GRPCInferenceServiceStub
from tests.imports.models import CLASS, NUMBER, ROWS, WRITTEN


def converted(path: Path, module: str, given: arrays.Arrays | None = None) -> Equality:
    """Convert in this process, what the child does, and prove."""
    arrays.write(path.parent / child.GIVEN, given or {})
    child.convert(module, path, path.parent)
    found = arrays.read(path.parent / child.INPUTS), arrays.read(path.parent / child.ANSWERS)
    return equality.prove(path.parent / child.GRAPH, *found)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "original"


def test_every_format_is_equal_and_answered_by_the_running_server(tmp_path: Path, serve: Callable[..., str]) -> None:
    root = tmp_path / "serving"
    for kind, write in WRITTEN.items():
        (folder := tmp_path / kind).mkdir()
        write(folder / "original")
        assert converted(folder / "original", kind).largest < 1e-5
        graph = folder / child.GRAPH
        deployment.install(root, Card(kind, "1", deployment.digest(graph)), {deployment.GRAPH: graph})
        deployment.point(root, kind, "1")
    serve(root)
    with grpc.insecure_channel(deployment.status(root)["address"]) as channel:
        for kind in WRITTEN:
            inputs, answers = (arrays.read(tmp_path / kind / name) for name in (child.INPUTS, child.ANSWERS))
            (rows,) = inputs.values()
            request = messages.ModelInferRequest(model_name=kind, raw_input_contents=[rows[:5].tobytes()])
            request.inputs.add(name=next(iter(inputs)), datatype="FP32", shape=[5, rows.shape[1]])
            told = GRPCInferenceServiceStub(channel).ModelInfer(request, timeout=60)
            name, content = told.outputs[-1].name, told.raw_output_contents[-1]
            said = np.frombuffer(content, np.float32).reshape(5, -1)
            np.testing.assert_allclose(said, answers[name][:5], rtol=1e-4, atol=1e-6)


def test_the_same_file_gives_the_same_graph(path: Path) -> None:
    WRITTEN["skops"](path)
    converted(path, "skops")
    first = (path.parent / child.GRAPH).read_bytes()
    converted(path, "skops")
    assert (path.parent / child.GRAPH).read_bytes() == first


@pytest.mark.parametrize(
    "model", [ExtraTreesRegressor(5), HistGradientBoostingClassifier(max_iter=5), SVC()], ids=lambda m: type(m).__name__
)
def test_more_of_scikit_learn(path: Path, model: Any) -> None:
    skops.io.dump(make_pipeline(StandardScaler(), model.fit(ROWS, CLASS)).fit(ROWS, CLASS), path)
    assert converted(path, "skops").largest < 1e-4


@pytest.mark.parametrize("scaler", [StandardScaler(), MaxAbsScaler()])
def test_scaled_rows_that_lie_on_a_threshold_go_where_they_went(path: Path, scaler: Any) -> None:
    """Rounded values lie on the middle of two others, which is where a tree that was drawn without them parts those."""
    random = np.random.default_rng(1)
    rows = np.c_[random.gamma(2, 40, 1500), random.lognormal(5, 1.2, 1500)].round(1).astype(np.float32)
    target = np.log(rows[:, 1] / 150) * 0.3 - 0.01 * rows[:, 0] + random.normal(0, 1, 1500) > 0
    forest = RandomForestClassifier(50, max_depth=6, random_state=0)
    skops.io.dump(make_pipeline(scaler, forest).fit(rows, target), path)
    assert converted(path, "skops", {"features": rows}).largest < 1e-5


def test_columns_by_name_text_among_them(path: Path) -> None:
    import pandas

    table = pandas.DataFrame({"load": ROWS[:, 0], "region": np.where(CLASS, "eu", "us")})
    head = make_column_transformer((StandardScaler(), ["load"]), (OneHotEncoder(), ["region"]))
    skops.io.dump(make_pipeline(head, ExtraTreesRegressor(3)).fit(table, NUMBER), path)
    given = {"load": ROWS[:, 0], "region": table["region"].to_numpy(str)}
    assert converted(path, "skops", given).rows == len(ROWS)
    graph = onnx.load(path.parent / child.GRAPH)
    assert [info.name for info in graph.graph.input] == ["load", "region"]


def _double(rows: Any) -> Any:
    return rows * 2


def test_a_type_of_a_stranger_and_a_tree_that_points_elsewhere(path: Path) -> None:
    skops.io.dump(make_pipeline(FunctionTransformer(_double), SVC()).fit(ROWS, CLASS), path)
    with pytest.raises(InvalidData, match=r"this one holds .*_double"):
        converted(path, "skops")
    forest = ExtraTreesRegressor(1).fit(ROWS, NUMBER)
    forest.estimators_[0].tree_.children_left[0] = 10**6
    skops.io.dump(forest, path)
    with pytest.raises(InvalidData, match="point forward"):
        converted(path, "skops")
    skops.io.dump(StandardScaler().fit(ROWS), path)
    with pytest.raises(InvalidData, match="StandardScaler without predict"):
        converted(path, "skops")


def _say(path: Path, key: str, value: int) -> None:
    """Write another number for every `key` of a skops file."""

    def edit(part: Any) -> Any:
        if isinstance(part, list):
            return [edit(each) for each in part]
        if not isinstance(part, dict):
            return part
        held = {name: edit(each) for name, each in part.items()}
        if isinstance(held.get(key), dict):
            held[key]["content"] = json.dumps(value)
        return held

    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    members["schema.json"] = json.dumps(edit(json.loads(members["schema.json"]))).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)


@pytest.mark.parametrize("count", [3, 0, -1])
def test_a_tree_of_another_size_than_it_says(path: Path, count: int) -> None:
    """scikit-learn itself lowers a count that is too large."""
    skops.io.dump(DecisionTreeRegressor().fit(ROWS, NUMBER), path)
    _say(path, "node_count", count)
    (folder := path.parent / "folder").mkdir()
    with pytest.raises(InvalidData, match="a tree has as many nodes as it says"):
        convert(path, "skops", {}, path.parent, folder)


def test_a_tree_without_nodes(path: Path) -> None:
    boosted = HistGradientBoostingRegressor(max_iter=1).fit(ROWS, NUMBER)
    boosted._predictors[0][0].nodes = boosted._predictors[0][0].nodes[:0]
    skops.io.dump(boosted, path)
    with pytest.raises(InvalidData, match="a tree has nodes"):
        converted(path, "skops")


def test_a_member_takes_what_its_ensemble_hands_it(path: Path) -> None:
    forest = ExtraTreesRegressor(2, max_features=1).fit(ROWS, NUMBER)
    forest.n_features_in_ = 2
    skops.io.dump(forest, path)
    with pytest.raises(InvalidData, match="a tree has its ensemble's features"):
        converted(path, "skops")
    some = BaggingRegressor(DecisionTreeRegressor(), 2, max_features=0.5).fit(ROWS, NUMBER)
    skops.io.dump(some, path)
    assert converted(path, "skops").largest < 1e-4


@pytest.mark.parametrize(
    "member",
    [RandomForestClassifier(3), make_pipeline(StandardScaler(), RandomForestClassifier(3))],
    ids=["forest", "pipeline"],
)
def test_an_ensemble_of_what_has_members_itself(path: Path, member: Any) -> None:
    skops.io.dump(BaggingClassifier(member, 2, max_features=0.5, random_state=0).fit(ROWS, CLASS), path)
    assert converted(path, "skops").largest < 1e-4


@pytest.mark.parametrize(
    ("parameters", "target"),
    [
        ({"objective": "multi:softmax", "num_class": 3}, np.digitize(ROWS[:, 0], [-0.5, 0.5])),
        ({"objective": "count:poisson"}, CLASS),
        ({"objective": "reg:absoluteerror"}, NUMBER),
    ],
)
def test_more_of_xgboost(path: Path, parameters: dict[str, Any], target: Any) -> None:
    path.write_bytes(xgboost.train(parameters, xgboost.DMatrix(ROWS, target), 5).save_raw("json"))
    assert converted(path, "xgboost").largest < 1e-4


@pytest.mark.parametrize("booster", ["gblinear", "dart"])
def test_boosters_of_no_trees_that_convert(path: Path, booster: str) -> None:
    path.write_bytes(xgboost.train({"booster": booster}, xgboost.DMatrix(ROWS, NUMBER), 2).save_raw("ubj"))
    with pytest.raises(InvalidData, match=f"got {booster}"):
        converted(path, "xgboost")


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("onnx", "valid ONNX"),
        ("skops", "skops must read"),
        ("xgboost", "XGBoost must load"),
        ("lightgbm", "LightGBM must load"),
        ("torch", "must be a whole archive"),
    ],
)
def test_half_a_file(path: Path, kind: str, said: str) -> None:
    """XGBoost and LightGBM may crash at one, which is why the child is asked, not this process."""
    WRITTEN[kind](path)
    content = path.read_bytes()
    path.write_bytes(content[: 600 if kind == "lightgbm" else len(content) // 2])
    (folder := path.parent / "folder").mkdir()
    with pytest.raises(InvalidData, match=rf"{said}|it ended by SIG"):
        convert(path, kind, {}, path.parent, folder)


def test_a_graph_in_several_files_or_of_unknown_operators(path: Path) -> None:
    WRITTEN["onnx"](path)
    graph = onnx.load(path)
    graph.graph.node[0].domain = "my.own"
    graph.opset_import.add(domain="my.own", version=1)
    path.write_bytes(graph.SerializeToString())
    with pytest.raises(InvalidData, match="ONNX Runtime must run the graph"):
        converted(path, "onnx")
    WRITTEN["onnx"](path)
    graph = onnx.load(path)
    weights = graph.graph.initializer[0]
    weights.data_location = onnx.TensorProto.EXTERNAL
    weights.external_data.add(key="location", value="weights")
    weights.ClearField("raw_data")
    path.write_bytes(graph.SerializeToString())
    with pytest.raises(InvalidData, match=r"valid ONNX|ONE file"):
        converted(path, "onnx")
