"""Content hashes and immutable result folders."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from fleetml.artifacts import NOTHING, ResultFolder, digest, intact, local_path


def folder(place: Path) -> Path:
    (place / "in").mkdir(parents=True)
    (place / "in" / "a").write_text("1")
    (place / "b").write_text("2")
    return place


def test_a_file_s_digest_is_that_of_its_bytes(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"abc")
    assert digest(tmp_path / "f") == hashlib.sha256(b"abc").hexdigest()


def test_equal_folders_have_equal_digests_wherever_they_are(tmp_path: Path) -> None:
    assert digest(folder(tmp_path / "x")) == digest(folder(tmp_path / "y"))


@pytest.mark.parametrize("change", ["content", "name", "new file", "empty folder", "link"])
def test_any_change_in_a_folder_changes_its_digest(tmp_path: Path, change: str) -> None:
    place = folder(tmp_path / "x")
    before = digest(place)
    match change:
        case "content":
            (place / "in/a").write_text("3")
        case "name":
            (place / "in/a").rename(place / "in/c")
        case "new file":
            (place / "c").write_text("")
        case "empty folder":
            (place / "empty").mkdir()
        case "link":
            (place / "link").symlink_to("b")
    assert digest(place) != before


def test_a_file_is_not_a_folder_that_holds_it(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "f").write_text("")
    assert digest(tmp_path / "x") != digest(tmp_path / "x" / "f")


def test_intact_notices_loss_and_change(tmp_path: Path) -> None:
    file = tmp_path / "f"
    file.write_text("abc")
    entry = {"uri": str(file), "digest": digest(file)}
    assert intact(entry)
    file.write_text("abd")
    assert not intact(entry)
    file.unlink()
    assert not intact(entry)
    assert intact({"uri": str(file), "digest": NOTHING})
    assert not intact({"uri": "s3://b/k", "digest": "0"})


def test_local_paths() -> None:
    assert local_path("file:///a b") == Path("/a b")
    assert local_path("/a") == Path("/a")
    assert local_path("s3://bucket/a") is None


def test_a_result_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    made = ResultFolder.create(tmp_path, "group/a name")
    (made.aside / "data").write_text("x")
    assert not made.final.exists()
    made.publish()
    assert (made.final / "data").read_text() == "x"
    assert not made.aside.exists()
    assert (made.final / "data").stat().st_mode & 0o222 == 0
    assert made.final.name.startswith("group-a-name-")
    made.discard()  # of what is published nothing is taken away
    assert (made.final / "data").exists()


def test_a_failed_attempt_leaves_nothing(tmp_path: Path) -> None:
    made = ResultFolder.create(tmp_path, "x")
    (made.aside / "data").write_text("x")
    made.discard()
    assert list(tmp_path.iterdir()) == []


def test_paths_into_a_result_are_told_as_they_will_be(tmp_path: Path) -> None:
    made = ResultFolder.create(tmp_path, "x")
    told = made.relocated({"a": [f"{made.aside}/data", 1, None], "b": {"c": f"file://{made.aside}"}})
    assert told == {"a": [f"{made.final}/data", 1, None], "b": {"c": f"file://{made.final}"}}
