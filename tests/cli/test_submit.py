"""``fleetml submit``: what is refused before anything is sent."""

from collections.abc import Callable
from pathlib import Path

import pytest

MONITOR = str(Path(__file__).parents[2] / "dags" / "monitor")


@pytest.mark.parametrize("image", ["fleetml/ml", "=registry@sha256:1", "fleetml/ml="])
def test_an_image_that_names_no_reference_is_refused_and_not_left_out(
    fleetml: Callable[..., int], image: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fleetml("submit", MONITOR, "--host", "http://127.0.0.1:1", "--image", image) == 2
    assert f"an image is NAME=REGISTRY@sha256:…, got {image!r}" in capsys.readouterr().err
