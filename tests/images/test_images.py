"""The image table: what a name means, what makes two environments or two states of the code differ."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from fleetml.errors import ConfigurationError
from fleetml.images import STAMP, Image, Images, stage_folder
from fleetml.settings import Settings


@pytest.fixture
def image(project: Settings) -> Callable[[], Image]:
    """Return a function that reads the table anew, with a venv of the test's own."""
    venv = project.project / "venv"
    (venv / "bin").mkdir(parents=True)
    (venv / "bin/python").write_text("")
    (venv / "pyvenv.cfg").write_text("home = /x\nversion_info = 3.11.7\n")
    table = project.project / "images/images.toml"
    table.write_text('[images."a/b"]\nvenv = "venv"\nlocks = ["lock.txt"]\ncode = ["shared.py", "lib"]\n')
    return lambda: Images(project.project).resolve("a/b")


def test_an_alias_is_a_pattern(project: Settings) -> None:
    images = Images(project.project)
    assert images.resolve("python:3.11-slim").name == "fleetml/ml"
    with pytest.raises(ConfigurationError, match=r"image 'ubuntu'.*fleetml/ml.*python:3\.1\?\*.*images\.toml"):
        images.resolve("ubuntu")


def test_a_venv_that_was_not_built_is_refused_with_the_remedy(image: Callable[[], Image], project: Settings) -> None:
    (project.project / "venv/bin/python").unlink()
    with pytest.raises(ConfigurationError, match="make setup"):
        image()


@pytest.mark.parametrize(
    "text", ["[images", '[images."a/b"]\nlocks = []\n', '[images."a/b"]\nvenv="venv"\nlocks=["no"]\n']
)
def test_a_broken_table_is_named(image: Callable[[], Image], project: Settings, text: str) -> None:
    (project.project / "images/images.toml").write_text(text)
    with pytest.raises(ConfigurationError, match=r"images\.toml"):
        image()


def test_a_project_without_table(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"images\.toml"):
        Images(tmp_path)


def test_the_stamp_speaks_for_what_is_installed_and_the_lock_where_there_is_none(
    image: Callable[[], Image], project: Settings
) -> None:
    by_lock = image().environment_digest()
    (project.project / "lock.txt").write_text("other==2\n")
    assert image().environment_digest() != by_lock
    (project.project / "venv" / STAMP).write_text(json.dumps({"locks": "abc"}))
    stamped = image().environment_digest()
    (project.project / "lock.txt").write_text("not installed yet==3\n")
    assert image().environment_digest() == stamped


def test_another_python_is_another_environment(image: Callable[[], Image], project: Settings) -> None:
    before = image().environment_digest()
    (project.project / "venv/pyvenv.cfg").write_text("version_info = 3.12.1\n")
    assert image().environment_digest() != before


def test_code_is_the_stage_and_the_shared_roots(image: Callable[[], Image], project: Settings) -> None:
    root = project.project
    for place in ("components/train/fit.py", "components/other/x.py", "lib/deep/y.py"):
        (root / place).parent.mkdir(parents=True, exist_ok=True)
        (root / place).write_text("")
    entry = "components.train.fit:fit"
    first = image().code_digest(entry)
    (root / "components/other/x.py").write_text("changed")
    (root / "components/train/__pycache__").mkdir()
    (root / "components/train/__pycache__/fit.pyc").write_text("x")
    assert image().code_digest(entry) == first
    seen = {first}
    for place in ("components/train/fit.py", "components/train/table.json", "lib/deep/y.py", "shared.py"):
        (root / place).write_text("changed")
        seen.add(image().code_digest(entry))
    assert len(seen) == 5
    assert image().code_digest() != image().code_digest(entry)


def test_the_stage_of_an_entry(tmp_path: Path) -> None:
    (tmp_path / "components/train").mkdir(parents=True)
    (tmp_path / "alone.py").write_text("")
    assert stage_folder(tmp_path, "components.train.fit:fit") == tmp_path / "components/train"
    assert stage_folder(tmp_path, "components.edge:f") == tmp_path / "components"
    assert stage_folder(tmp_path, "alone:f") == tmp_path / "alone.py"
    assert stage_folder(tmp_path, "elsewhere.x:f") is None


def test_a_reference_needs_registry_and_digest(project: Settings) -> None:
    table = project.project / "images/images.toml"
    assert Images(project.project).reference("fleetml/ml") == ""
    table.write_text('[images."a"]\nvenv="v"\nlocks=[]\nregistry="r.example/a"\ndigest="sha256:1"\n')
    assert Images(project.project).reference("a") == "r.example/a@sha256:1"


class TestContainers:
    @pytest.fixture
    def asked(self, project: Settings) -> tuple[Images, list[tuple[str, bool]]]:
        table = '[images."built"]\n[images."pushed"]\nregistry = "r.example/p"\ndigest = "sha256:1"\n'
        (project.project / "images/images.toml").write_text(table + '[aliases]\n"python:*" = "built"\n')
        asked: list[tuple[str, bool]] = []

        def pin(reference: str, local: bool) -> str:
            asked.append((reference, local))
            return f"sha256:{len(asked)}"

        return Images(project.project, pin), asked

    def test_what_was_pushed_is_named_by_its_digest_what_was_not_by_its_local_tag(self, asked) -> None:
        images, pinned = asked
        assert images.resolve("pushed").reference == "r.example/p@sha256:1"
        assert images.resolve("built").reference == "built"
        assert pinned == [("r.example/p@sha256:1", False), ("built", True)]

    def test_a_stranger_s_image_stands_for_itself_also_where_a_process_would_take_an_environment(self, asked) -> None:
        images, pinned = asked
        assert images.resolve("python:3.11").reference == "python:3.11"
        assert pinned == [("python:3.11", False)]

    def test_an_image_is_pinned_once_and_its_content_is_the_environment(self, asked) -> None:
        images, pinned = asked
        assert (
            images.resolve("built").environment_digest() == images.resolve("built").environment_digest() == "sha256:1"
        )
        assert images.resolve("built").code_digest("components.train.fit:fit") == ""
        assert len(pinned) == 1
