"""What a file is, by its content alone; pickles are refused under every name."""

import json
import pickle
import zipfile
from pathlib import Path

import joblib
import pytest
import skops.io
import torch
from sklearn.linear_model import LogisticRegression

from fleetml.errors import InvalidData
from fleetml.imports.formats import FORMATS, recognise
from tests.imports.models import WRITTEN, xgboost

SUFFIXES = (".onnx", ".skops", ".ubj", ".json", ".txt", ".pt2", ".keras", "")


class Evil:
    """What a pickle of it runs is told by the file that appears."""

    def __init__(self, told: Path) -> None:
        self.told = told

    def __reduce__(self) -> object:
        return Path.touch, (self.told,)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("protocol", [0, 1, 2, 5])
def test_a_pickle_is_refused_under_every_suffix_and_never_loaded(tmp_path: Path, suffix: str, protocol: int) -> None:
    path, told = tmp_path / f"model{suffix}", tmp_path / "told"
    path.write_bytes(pickle.dumps(Evil(told), protocol))
    with pytest.raises(InvalidData, match=r"a pickle runs whatever its author wrote.*save the model as ONNX"):
        recognise(path)
    assert not told.exists()


@pytest.mark.parametrize("compress", [0, 3, ("gzip", 3), ("bz2", 3), ("xz", 3)])
def test_so_is_joblib(tmp_path: Path, compress: object) -> None:
    path = tmp_path / "model.onnx"
    joblib.dump(LogisticRegression().fit([[0.0], [1.0]], [0, 1]), path, compress=compress)
    with pytest.raises(InvalidData, match="pickle"):
        recognise(path)


def test_so_is_what_torch_saves(tmp_path: Path) -> None:
    path = tmp_path / "model.pt2"
    torch.save(torch.nn.Linear(1, 1), path)
    with pytest.raises(InvalidData, match=r"holds model/data.pkl \(torch.save, torch.jit\)"):
        recognise(path)


@pytest.mark.parametrize("kind", WRITTEN)
def test_a_format_is_known_by_its_content(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "model.pickle"
    WRITTEN[kind](path)
    assert recognise(path) == kind


def test_xgboost_as_json_and_keras(tmp_path: Path) -> None:
    path = tmp_path / "model"
    path.write_text(json.dumps({"version": [3, 2, 0], "learner": {}}))
    assert recognise(path) == "xgboost"
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("config.json", "metadata.json"):
            archive.writestr(name, "{}")
    assert recognise(path) == "keras"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "has 0 bytes"),
        (b"hello", "is none of ONNX, scikit-learn"),
        (b"[1, 2]", "is none of"),
        (b"{" * 100_000, "is none of"),
        (b"\x89HDF\r\n", "Keras' old format"),
        (b"binf....", "old binary format"),
        (b"PK\x03\x04 no archive", "begins as an archive, but is none"),
    ],
)
def test_what_is_no_model(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(InvalidData, match=said):
        recognise(path)


def test_an_archive_of_anything_else_a_folder_and_nothing(tmp_path: Path) -> None:
    path = tmp_path / "model.skops"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme", "hello")
    with pytest.raises(InvalidData, match="by its members"):
        recognise(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("hidden", pickle.dumps({"a": [1]}))
    with pytest.raises(InvalidData, match=r"model.skops: hidden is or holds one"):
        recognise(path)
    with pytest.raises(InvalidData, match="is a folder"):
        recognise(tmp_path)
    with pytest.raises(InvalidData, match="must be readable"):
        recognise(tmp_path / "nowhere")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_twice_may_be_read_as_either(tmp_path: Path) -> None:
    path = tmp_path / "model.skops"
    skops.io.dump(LogisticRegression().fit([[0.0], [1.0]], [0, 1]), path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("schema.json", "{}")
    with pytest.raises(InvalidData, match="each name once"):
        recognise(path)


def test_files_are_told_by_their_first_part(tmp_path: Path) -> None:
    path = tmp_path / "model"
    path.write_bytes(pickle.dumps(list(range(20_000)), 0)[:-1] + b"\xff")  # no whole pickle, but one for very long
    with pytest.raises(InvalidData, match="a pickle runs"):
        recognise(path)
    path.write_bytes(b'{"version": "' + b"x" * 5000 + b'", "learner": {}}')
    with pytest.raises(InvalidData, match="is none of"):
        recognise(path)


def test_an_archive_that_does_not_unpack(tmp_path: Path) -> None:
    path = tmp_path / "model"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("readme", "hello" * 100)
    content = bytearray(path.read_bytes())
    content[36:44] = b"\xff" * 8  # of what is compressed
    path.write_bytes(content)
    with pytest.raises(InvalidData, match="begins as an archive, but is none"):
        recognise(path)


def test_each_format_has_its_source() -> None:
    folder = Path(__file__).parents[2] / "src/fleetml/imports/sources"
    assert all((folder / f"{known.module}.py").is_file() for known in FORMATS.values())
    assert xgboost is WRITTEN["xgboost"]
