"""What a version was made with, as far as the machine knows."""

import subprocess
from pathlib import Path

import pytest

from components.register import origin
from fleetml import images


def test_the_commit_of_a_repository_and_whether_files_differ_from_it(tmp_path: Path) -> None:
    assert origin.commit(tmp_path) == ""

    def git(*words: str) -> None:
        who = ("-c", "user.name=a", "-c", "user.email=a@b")
        subprocess.run(["git", "-C", str(tmp_path), *who, *words], check=True, capture_output=True)

    git("init")
    code = tmp_path / "code.py"
    code.write_text("1")
    git("add", "code.py")
    git("commit", "-m", "first")
    found = origin.commit(tmp_path)
    assert len(found) == 40
    code.write_text("2")
    assert origin.commit(tmp_path) == found + "+changes"


def test_the_image_names_the_lock_it_was_built_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.prefix", str(tmp_path))
    assert origin.image().startswith("python 3.")
    assert "lock" not in origin.image()
    (tmp_path / images.STAMP).write_text('{"locks": "abcdef0123456789"}')
    assert origin.image().endswith(" lock abcdef012345")
