"""fleetml import: what it says, and serving at once."""

from collections.abc import Callable
from pathlib import Path

import pytest

from fleetml.serving import deployment
from fleetml.settings import Settings
from tests.imports.models import WRITTEN
from tests.small_graphs import META, forecaster


def test_a_model_is_imported_and_served(
    fleetml: Callable[..., int],
    project: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    serve: Callable[..., str],
) -> None:
    monkeypatch.setenv("FLEETML_REGISTRY", f"sqlite:///{tmp_path / 'mlflow.db'}")
    serve(project.serving_dir)
    path = tmp_path / "model"
    WRITTEN["xgboost"](path)
    assert fleetml("import", path, "--name", "bandwidth", "--serve") == 0
    said, complained = capsys.readouterr()
    assert "Waiting up to" not in complained
    assert "is XGBoost by its content" in said
    assert "takes    features float32 [any, 4]" in said
    assert "equal    to the original on drawn rows: 256 rows" in said
    assert "bandwidth version 1 is registered, kind any, alias champion" in said
    assert "version 1 answers" in said
    assert "bandwidth: deploy to 1" in said
    path.write_bytes(forecaster(META, 0.0))
    assert fleetml("import", path, "--name", "bandwidth", "--serve") == 2
    assert "bandwidth 1 is of the kind any, the registered version 2 of forecaster" in capsys.readouterr().err
    assert deployment.read(project.serving_dir)["bandwidth"].version == "1"


def test_a_pickle_is_refused(fleetml: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "model.onnx").write_bytes(b"\x80\x04K\x01.")
    assert fleetml("import", tmp_path / "model.onnx", "--name", "theirs") == 1
    assert "a pickle runs whatever its author wrote" in capsys.readouterr().err


def test_the_help_fits_one_screen(fleetml: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        fleetml("import", "--help")
    assert len(capsys.readouterr().out.splitlines()) <= 24
