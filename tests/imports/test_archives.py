"""What torch.export's and Keras' loaders would run is refused before they see the file."""

import io
import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fleetml.errors import InvalidData
from fleetml.imports import archives
from fleetml.imports.sources import torch as source
from tests.imports.models import torch as write_torch

PROGRAM, WEIGHTS, SAMPLES = "models/model.json", "data/weights/model_weights_config.json", "data/sample_inputs/model.pt"


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("exported") / "model.pt2"
    write_torch(path)
    return path


def changed(path: Path, target: Path, change: Callable[[str, bytes], bytes], **added: bytes) -> Path:
    """Write the archive anew, each member through `change(name, content)`."""
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(target, "w") as made:
        for name in archive.namelist():
            made.writestr(name, change(name.partition("/")[2], archive.read(name)))
        for name, content in added.items():
            made.writestr(f"model/{name}", content)
    return target


def in_json(member: str, edit: Callable[[Any], None]) -> Callable[[str, bytes], bytes]:
    def change(name: str, content: bytes) -> bytes:
        if name != member:
            return content
        document = json.loads(content)
        edit(document)
        return json.dumps(document).encode()

    return change


def test_what_is_left_of_a_plain_program_is_the_program(exported: Path, tmp_path: Path) -> None:
    archives.rewrite_torch(exported, tmp_path / "clean.pt2")
    with zipfile.ZipFile(exported) as one, zipfile.ZipFile(tmp_path / "clean.pt2") as other:
        assert one.namelist() == other.namelist()
        plain = [name for name in one.namelist() if not name.endswith(("model.pt", ".json"))]
        assert all(one.read(name) == other.read(name) for name in plain)
        program = json.loads(one.read(f"{one.namelist()[0].partition('/')[0]}/{PROGRAM}"))
        kept = json.loads(other.read(f"{one.namelist()[0].partition('/')[0]}/{PROGRAM}"))
        assert kept == {**program, "guards_code": []}


def test_guards_are_never_run(exported: Path, tmp_path: Path) -> None:
    def guard(document: Any) -> None:
        document["guards_code"] = [f"__import__('os').system('touch {tmp_path}/owned') == 0"]

    program = source.open(changed(exported, tmp_path / "bad.pt2", in_json(PROGRAM, guard)), {})
    (name,) = (info.name for info in program.graph().graph.input)
    assert program.run({name: np.zeros((3, 4), np.float32)})[0].shape == (3, 3)
    assert not (tmp_path / "owned").exists()


def _call(document: Any) -> None:
    document["graph_module"]["graph"]["nodes"][0]["target"] = "torch.os.system"


def _size(document: Any) -> None:
    document["graph_module"]["graph"]["sym_int_values"] = {"s0": {"as_expr": {"expr_str": "__import__('os').getpid()"}}}


def _unpickle(document: Any) -> None:
    next(iter(document["config"].values()))["use_pickle"] = True


def _elsewhere(document: Any) -> None:
    next(iter(document["config"].values()))["path_name"] = "opaque_obj_0"


def _more(document: Any) -> None:
    document["more_code"] = []


def _tree(**changes: Any) -> Callable[[Any], None]:
    """Write other inputs of the whole module: JSON in a string, in which a context is JSON in a string."""

    def edit(document: Any) -> None:
        plain = {"type": "builtins.dict", "context": json.dumps(["x"]), "children_spec": []}
        whole = document["graph_module"]["module_call_graph"][0]["signature"]
        whole["in_spec"] = json.dumps([1, {**plain, **changes}])

    return edit


_ENUM = json.dumps([{"__enum__": True, "fqn": "antigravity:x", "name": "x"}])
_FACTORY = {"default_factory_module": "antigravity", "default_factory_name": "x", "dict_context": []}


@pytest.mark.parametrize(
    ("member", "edit", "said"),
    [
        (PROGRAM, _call, "calls torch.os.system"),
        (PROGRAM, _size, r"has the size \"__import__"),
        (PROGRAM, _more, "has more_code"),
        (PROGRAM, _tree(context=_ENUM), "by text .in_spec"),
        (PROGRAM, _tree(context=_FACTORY, type="collections.defaultdict"), "by text .in_spec"),
        (PROGRAM, _tree(type="mine.Tuple"), "by text .in_spec"),
        (PROGRAM, _tree(children_spec=[{"type": "mine.Tuple"}]), "by text .in_spec"),
        (PROGRAM, _tree(context="no JSON"), "by text .in_spec"),
        (WEIGHTS, _unpickle, "unpickles weight_0"),
        (WEIGHTS, _elsewhere, "reads opaque_obj_0"),
    ],
)
def test_a_program_that_names_code(
    exported: Path, tmp_path: Path, member: str, edit: Callable[[Any], None], said: str
) -> None:
    path = changed(exported, tmp_path / "bad.pt2", in_json(member, edit))
    with pytest.raises(InvalidData, match=said):
        source.open(path, {})


def test_members_that_torch_would_run(exported: Path, tmp_path: Path) -> None:
    def same(name: str, content: bytes) -> bytes:
        return content

    for name in ("data/aotinductor/model/a.so", "data/constants/opaque_obj_0"):
        path = changed(exported, tmp_path / "bad.pt2", same, **{name: b"anything"})
        with pytest.raises(InvalidData, match=f"holds model/{name}"):
            source.open(path, {})


@pytest.mark.parametrize("protocol", [2, 4])
def test_example_inputs_that_run_something(exported: Path, tmp_path: Path, protocol: int) -> None:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(Path("anything"), protocol))
    path = changed(
        exported, tmp_path / "bad.pt2", lambda name, content: made.getvalue() if name == SAMPLES else content
    )
    with pytest.raises(InvalidData, match=r"unpickles (pathlib|STACK_GLOBAL)"):
        source.open(path, {})


def keras(path: Path, **layer: Any) -> Path:
    dense = {"module": "keras.layers", "class_name": "Dense", "config": {"units": 1}, "registered_name": None}
    known = {"module": "keras", "class_name": "Sequential", "config": {"layers": [{**dense, **layer}]}}
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", json.dumps(known))
        archive.writestr("metadata.json", "{}")
    return path


@pytest.mark.parametrize(
    "layer",
    [
        {"class_name": "Lambda"},
        {"class_name": "TorchModuleWrapper"},
        {"module": "os", "class_name": "system"},
        {"module": "keras.src.utils.file_utils", "class_name": "get_file"},
        {"module": None, "class_name": "Mine", "registered_name": "mine>Mine"},
        {"config": {"activation": {"module": "builtins", "class_name": "function", "config": "eval"}}},
        {"module": "keras", "class_name": "layers.Lambda"},
        {"module": "keras", "class_name": None},
        {"config": {"activation": {"module": "keras", "class_name": "function", "config": "utils.get_file"}}},
    ],
)
def test_a_keras_file_with_code_of_its_own(tmp_path: Path, layer: dict[str, Any]) -> None:
    with pytest.raises(InvalidData, match=r"made of Keras' own layers.*save it as ONNX"):
        archives.check_keras(keras(tmp_path / "model.keras", **layer), tmp_path / "model.keras")


def test_a_plain_one_passes_and_none_is_told(tmp_path: Path) -> None:
    path = keras(tmp_path / "model.keras")
    archives.check_keras(path, path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", "no JSON")
    with pytest.raises(InvalidData, match=r"config.json must be JSON"):
        archives.check_keras(path, path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.json", "{}")
    with pytest.raises(InvalidData, match=r"model.keras must be a whole archive"):
        archives.check_keras(path, path)


def test_a_huge_description_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "model.keras"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", b"[" * (archives.MAX_JSON_BYTES + 1))
    with pytest.raises(InvalidData, match="at most 64 MiB"):
        archives.check_keras(path, path)


def test_half_an_archive(exported: Path, tmp_path: Path) -> None:
    content = exported.read_bytes()
    (path := tmp_path / "half.pt2").write_bytes(content[: len(content) // 2])
    with pytest.raises(InvalidData, match=r"half.pt2 must be a whole archive"):
        source.open(path, {})
