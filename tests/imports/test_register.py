"""From file to registry: in a process of its own, compared, the original beside the graph."""

import json
import os
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from fleetml.errors import ConfigurationError, InvalidData, InvalidParameter
from fleetml.imports import child, conversion
from fleetml.imports.conversion import convert
from fleetml.imports.register import import_model
from fleetml.serving import deployment, provenance
from fleetml.serving.registry import Registry
from fleetml.settings import Settings
from tests.imports.models import ROWS, WRITTEN

ROOT = Path(__file__).parents[2]


@pytest.fixture
def settings(project: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Settings:
    registry = f"sqlite:///{tmp_path / 'registry' / 'mlflow.db'}"
    return Settings.from_environment({"FLEETML_PROJECT": str(project.project), "FLEETML_REGISTRY": registry})


def test_a_model_is_registered_with_its_original(settings: Settings, tmp_path: Path) -> None:
    path = tmp_path / "their model.bin"
    WRITTEN["lightgbm"](path)
    np.savez(tmp_path / "rows.npz", features=ROWS)
    first = import_model(settings, path, "theirs", tmp_path / "rows.npz")
    assert (first.version, first.alias, first.kind, first.equality.rows) == ("1", "champion", "any", len(ROWS))
    assert import_model(settings, path, "theirs").alias == "challenger"
    graph = tmp_path / "fetched.onnx"
    lineage = Registry(settings.registry).fetch("theirs", "1", graph)
    assert lineage["imported"]["sha256"] == deployment.digest(path)
    assert lineage["imported"]["versions"]["lightgbm"]
    columns = {entry.key: entry.value for entry in onnx.load(graph).metadata_props}["fleetml.columns"]
    assert json.loads(columns) == ["Column_0", "Column_1", "Column_2", "Column_3"]
    told = dict(provenance.of(settings.registry, settings.home, "theirs", "1"))
    assert told["imported"] == "LightGBM: their model.bin"
    assert told["model SHA-256"] == deployment.digest(graph)
    kept = list((tmp_path / "registry").rglob("original.txt"))
    assert kept
    assert kept[0].read_bytes() == path.read_bytes()


def test_answers_in_the_samples_are_what_counts(settings: Settings, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    WRITTEN["onnx"](path)
    np.savez(tmp_path / "rows.npz", rows=ROWS, said=ROWS @ np.arange(8).reshape(4, 2) + 1)
    with pytest.raises(InvalidData, match="of said the mean difference"):
        import_model(settings, path, "theirs", tmp_path / "rows.npz")
    assert not Registry(settings.registry).champion("theirs")


def test_answers_of_a_table_are_a_column(settings: Settings, tmp_path: Path) -> None:
    import polars as pl
    import xgboost

    booster = xgboost.train({"max_depth": 2}, xgboost.DMatrix(ROWS, ROWS[:, 0]), 3)
    booster.save_model(tmp_path / "model.ubj")
    said = booster.predict(xgboost.DMatrix(ROWS))
    table = pl.DataFrame({"prediction": said, **{name: ROWS[:, at] for at, name in enumerate("abcd")}})
    table.write_parquet(tmp_path / "rows.parquet")
    made = import_model(settings, tmp_path / "model.ubj", "theirs", tmp_path / "rows.parquet")
    assert (made.compared, made.equality.rows) == ("the answers in the samples (prediction)", len(ROWS))


def test_names_and_broken_files_are_told_as_the_user_knows_them(settings: Settings, tmp_path: Path) -> None:
    path = tmp_path / "model"
    path.write_text("tree\nversion=v4\nbroken\n")
    with pytest.raises(InvalidData, match=f"^{path}: LightGBM must load"):
        import_model(settings, path, "theirs")
    with pytest.raises(InvalidParameter, match="consists of letters"):
        import_model(settings, path, "../theirs")


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import os; os.abort()", "it ended by SIGABRT"),
        ("x = bytearray(1 << 36)", "must take the model.*MemoryError"),
        ("while True: pass", "takes at most"),
    ],
)
def test_a_conversion_that_crashes_eats_memory_or_hangs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, said: str
) -> None:
    stand_in = tmp_path / "python"
    stand_in.write_text(
        f"#!{sys.executable}\nimport sys\nfrom fleetml.imports import child\n"
        f"def convert(*a):\n    {code}\nchild.convert = convert\nsys.exit(child.main(sys.argv[3:]))\n"
    )
    stand_in.chmod(0o755)
    monkeypatch.setattr(conversion, "interpreter", lambda project, kind: stand_in)
    (folder := tmp_path / "folder").mkdir()
    seconds = 3 if "while" in code else 300
    with pytest.raises(InvalidData, match=said):
        convert(tmp_path / "model", "onnx", {}, tmp_path, folder, seconds=seconds)


def test_the_child_sees_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hidden")
    assert "hidden" not in conversion._environment(tmp_path).values()
    assert os.environ["PATH"] == conversion._environment(tmp_path)["PATH"]


def test_keras_names_its_environment_where_it_is_not_built(settings: Settings) -> None:
    with pytest.raises(ConfigurationError, match=r"python -m fleetml.stack.environments fleetml/keras"):
        conversion.interpreter(settings.project, "keras")


@pytest.mark.skipif(not (ROOT / ".venv/keras/bin/python").exists(), reason="the environment .venv/keras is not built")
def test_keras_in_its_own_environment(tmp_path: Path) -> None:
    import subprocess

    python, path = ROOT / ".venv/keras/bin/python", tmp_path / "model.keras"
    code = (
        "import sys, keras, numpy; n = keras.layers.Normalization(); n.adapt(numpy.array([[1.0, 2.0], [3.0, 5.0]]));"
        "keras.Sequential([keras.Input((2,), name='x'), n, keras.layers.Dense(2, name='said')]).save(sys.argv[1])"
    )
    subprocess.run([python, "-c", code, path], check=True, capture_output=True)
    (folder := tmp_path / "folder").mkdir()
    made = convert(path, "keras", {}, ROOT, folder)
    assert (list(made.inputs), list(made.answers)) == (["x"], ["said"])
    from fleetml.imports import equality

    assert equality.prove(made.graph, made.inputs, made.answers).largest < 1e-4


def test_the_child_says_why(tmp_path: Path) -> None:
    (tmp_path / "model").write_bytes(b"\x08 nothing")
    from fleetml.imports import arrays

    arrays.write(tmp_path / child.GIVEN, {})
    with pytest.raises(InvalidData, match="valid ONNX"):
        child.convert("onnx", tmp_path / "model", tmp_path)
