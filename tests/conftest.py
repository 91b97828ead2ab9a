"""What tests of several parts share: projects whose one image is the environment that the tests run in."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from fleetml.settings import Settings

IMAGE_TABLE = """[images."fleetml/ml"]
venv = "{venv}"
locks = ["lock.txt"]
code = ["shared.py"]

[aliases]
"python:3.1?*" = "fleetml/ml"
"""


@pytest.fixture
def project(tmp_path: Path) -> Settings:
    """Return the settings of an empty project whose path holds a space."""
    root = tmp_path / "a project"
    (root / "images").mkdir(parents=True)
    (root / "lock.txt").write_text("nothing==1\n")
    (root / "shared.py").write_text("")
    (root / "images/images.toml").write_text(IMAGE_TABLE.format(venv=sys.prefix))
    return Settings.from_environment({"FLEETML_PROJECT": str(root)})


@pytest.fixture
def stage(project: Settings) -> Callable[[str], str]:
    """Return a function that writes the code of a stage into the project and returns its module's name."""

    def write(code: str) -> str:
        folder = project.project / "components" / "stage"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "work.py").write_text(code)
        return "components.stage.work"

    return write
