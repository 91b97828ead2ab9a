"""``fleetml submit``: what is refused before anything is sent."""

from pathlib import Path

import pytest

from fleetml.cli import main
from fleetml.settings import Settings

PIPELINE = str(Path(__file__).parents[1] / "pipelines" / "branches.yaml")


@pytest.mark.parametrize("image", ["fleetml/ml", "=registry@sha256:1", "fleetml/ml="])
def test_an_image_that_names_no_reference_is_refused_and_not_left_out(
    image: str, project: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FLEETML_PROJECT", str(project.project))
    assert main(["submit", PIPELINE, "--host", "http://127.0.0.1:1", "--image", image]) == 2
    assert f"an image is NAME=REGISTRY@sha256:…, got {image!r}" in capsys.readouterr().err
