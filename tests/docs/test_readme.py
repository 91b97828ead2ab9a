"""What README.md shows is what works: its question to the model, pasted as it stands."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from fleetml.learn.windows import Meta
from fleetml.serving import deployment
from fleetml.serving.deployment import GRAPH, Card

ROOT = Path(__file__).parents[2]


def test_the_question_of_the_readme_is_answered_at_the_address_that_the_server_tells(
    tmp_path: Path, graph: Callable[..., Path], meta: Meta, serve: Callable[..., str]
) -> None:
    if not (ROOT / ".venv/ml/bin/python").exists():
        pytest.skip("needs .venv/ml of the checkout (make setup)")
    serving = tmp_path / ".fleetml/serving"
    path = graph(meta=replace(meta, horizon=12))
    card = Card("bandwidth", "1", deployment.digest(path))
    deployment.install(serving, card, {GRAPH: path})
    deployment.point(serving, "bandwidth", "1")
    serve(serving)  # at any port, as where the usual one is taken
    (tmp_path / ".venv").symlink_to(ROOT / ".venv")
    text = (ROOT / "README.md").read_text()
    block = text[text.index("```sh\n.venv/ml/bin/python") :].removeprefix("```sh\n").partition("```")[0]
    asked = subprocess.run(["bash", "-c", block], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert asked.returncode == 0, asked.stderr
    assert asked.stdout.count("100.0") == 12, asked.stdout
