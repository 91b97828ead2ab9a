"""Pipes, devices and folders where a file of ours should be: nobody waits for them, and no other run is harmed."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from fleetml.cli import main
from fleetml.errors import ConfigurationError
from fleetml.records import Run
from fleetml.settings import Settings
from tests.conformance.test_bad_input import BOTH, HEAD, one_step

KINDS: dict[str, Callable[[Path], None]] = {
    "pipe": os.mkfifo,
    "folder": Path.mkdir,
    "device": lambda place: place.symlink_to("/dev/zero"),
}


@pytest.fixture
def ran(project: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The IR of a pipeline that ran as "one" and "two", each time all of its steps."""
    monkeypatch.setenv("FLEETML_PROJECT", str(project.project))
    document = one_step(["python", "-c", HEAD + "write(P); write(A)"], "{{$}}", **BOTH)
    document["root"]["dag"]["tasks"]["bad"]["cachingOptions"] = {"enableCache": True}
    path = tmp_path / "p.yaml"
    path.write_text(json.dumps(document))
    assert fleetml("run", path, "--run-id", "one") == fleetml("run", path, "--run-id", "two", "--no-cache") == 0
    return path


def fleetml(*words: object) -> int:
    return main([str(word) for word in words])


def replaced(place: Path, kind: str) -> None:
    place.unlink()
    KINDS[kind](place)


@pytest.mark.parametrize("kind", KINDS)
def test_a_record_that_is_no_file_is_damaged(
    ran: Path, project: Settings, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    replaced(project.home / "runs/one/run.json", kind)
    with pytest.raises(ConfigurationError):
        Run(project.home, "one").read()
    assert fleetml("ls") == 0
    assert "two" in capsys.readouterr().out
    assert fleetml("resume", "one") == fleetml("status", "one") == 2
    assert fleetml("gc", "--dry-run") == fleetml("run", ran) == 0


@pytest.mark.parametrize("kind", KINDS)
def test_an_attempt_that_is_no_file_is_made_again(
    ran: Path, project: Settings, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    (place,) = (project.home / "runs/one/steps").rglob("bad/attempt-1.json")
    replaced(place, kind)
    assert fleetml("status", "one") == 0
    assert "is damaged: it is a folder, a pipe or a device, no file" in capsys.readouterr().out
    assert fleetml("gc", "--dry-run") == fleetml("resume", "one") == 0
    assert Run(project.home, "one").latest()["bad"].state == "succeeded"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("which", ["cache/*.json", "results/bad-*/result.json", "results/bad-*/data"])
def test_what_is_no_file_is_no_hit(ran: Path, project: Settings, kind: str, which: str) -> None:
    for place in project.home.glob(which):
        replaced(place, kind)
    assert fleetml("cache", "ls") == fleetml("run", ran, "--run-id", "again") == 0
    assert not Run(project.home, "again").latest()["bad"].cached
    assert fleetml("gc", "--older-than", "0s", "--keep-last", "0") == 0


@pytest.mark.parametrize("kind", KINDS)
def test_a_kept_form_of_the_pipeline_that_is_no_file_is_not_read(ran: Path, project: Settings, kind: str) -> None:
    for place in (project.home / "ir").glob("*.json"):
        replaced(place, kind)
    assert fleetml("run", ran) == 0
