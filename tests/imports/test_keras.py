"""The source of Keras without TensorFlow: a stand-in for Keras loads, exports and answers; Keras itself: test_register.py."""

import json
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from fleetml.errors import InvalidData
from fleetml.imports import arrays, child, equality
from fleetml.imports.sources import keras as source
from tests.imports.test_archives import keras as written

STAND_IN = '''
"""Stands in for Keras: a model of two inputs or one, as metadata.json says, that doubles and normalises."""
import json, types, zipfile
import numpy as np
from onnx import TensorProto, helper

__version__ = "stand-in"

class Normalization:
    def __init__(self):
        self.mean = memoryview(np.ones(2, np.float32))
        self.variance = memoryview(np.ones(2, np.float32))

class Model:
    output_names = ["said"]
    def __init__(self, about):
        self.about = about
        self.inputs = [types.SimpleNamespace(shape=(None, 2), dtype="float32")]
        self.layers = [types.SimpleNamespace(name="said")]
        self.norm = Normalization()
        self.called = False
    def _flatten_layers(self):
        return [self, self.norm]
    def __call__(self, rows, training=None):
        self.called = True
        return [np.asarray(rows) * 2]
    def export(self, path, format, verbose, opset_version):
        assert self.called and format == "onnx" and isinstance(self.norm.mean, np.ndarray)
        names = ["x"] + ["left"] * self.about.get("left", 0)
        infos = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 2]) for name in names]
        out = helper.make_tensor_value_info("Identity:0", TensorProto.FLOAT, ["batch", 2])
        nodes = [helper.make_node("Add", ["x", "x"], ["Identity:0"])]
        graph = helper.make_graph(nodes, "drawn", infos, [out])
        made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset_version)], ir_version=8)
        path.write_bytes(made.SerializeToString())

def load_model(path, compile, safe_mode):
    assert path.suffix == ".keras" and safe_mode is True and compile is False
    about = json.loads(zipfile.ZipFile(path).read("metadata.json"))
    if "broken" in about:
        raise TypeError("no such layer")
    return Model(about)

saving = types.SimpleNamespace(load_model=load_model)
ops = types.SimpleNamespace(zeros=lambda shape, dtype: np.zeros(shape, dtype), convert_to_numpy=np.asarray)
tree = types.SimpleNamespace(flatten=list)
'''


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    (tmp_path / "stand_in").mkdir()
    (tmp_path / "stand_in" / "keras.py").write_text(STAND_IN)
    monkeypatch.delitem(sys.modules, "keras", raising=False)
    monkeypatch.setenv("KERAS_BACKEND", "")
    monkeypatch.syspath_prepend(tmp_path / "stand_in")
    yield written(tmp_path / "original")
    sys.modules.pop("keras", None)


def told(path: Path, **about: object) -> Path:
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, json.dumps(about) if name == "metadata.json" else content)
    return path


def test_it_is_loaded_safely_called_frozen_and_its_output_named(path: Path) -> None:
    arrays.write(path.parent / child.GIVEN, {})
    child.convert("keras", path, path.parent)
    inputs, answers = (arrays.read(path.parent / name) for name in (child.INPUTS, child.ANSWERS))
    assert (list(inputs), list(answers)) == (["x"], ["said"])
    assert equality.prove(path.parent / child.GRAPH, inputs, answers).largest == 0
    np.testing.assert_array_equal(answers["said"], inputs["x"] * 2)


def test_an_exporter_that_leaves_inputs_behind(path: Path) -> None:
    with pytest.raises(InvalidData, match=r"the exporter left it the inputs x, left; save the model as ONNX"):
        source.open(told(path, left=1), {}).graph()


def test_what_keras_does_not_load(path: Path) -> None:
    with pytest.raises(InvalidData, match=r"Keras stand-in must load the file in safe mode, it says: no such layer"):
        source.open(told(path, broken=1), {})


def test_a_lambda_layer_is_refused_before_keras_sees_it(path: Path) -> None:
    written(path, class_name="Lambda")
    with pytest.raises(InvalidData, match=r"names keras.layers.Lambda.*Lambda: a layer of Keras that does the same"):
        source.open(path, {})
    assert "keras" not in sys.modules
