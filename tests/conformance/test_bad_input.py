"""Bad input, on the local engine: each has the right state, one clear message, an exit status that is not 0, and harms
nothing else; what of it has no engine in it as well.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fleetml.engines import local
from fleetml.pipeline import load
from fleetml.records import Run
from fleetml.settings import Settings
from tests.conformance.bad_input import (
    BOTH,
    CHANGES,
    EXECUTOR,
    FAILING,
    FOLDER,
    HEAD,
    OURS,
    REFUSED,
    changed,
    changing,
    one_step,
)
from tests.containers import Containers


@pytest.mark.parametrize("name", REFUSED)
def test_a_pipeline_that_is_none_is_refused_before_anything_runs(
    name: str, fleetml: Callable[..., int], project: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    document, words = REFUSED[name]
    path = tmp_path / "p.yaml"
    path.write_text(document)
    assert fleetml("run", path) == 1
    said = capsys.readouterr().err
    assert words in said
    assert len(said) < 600
    assert said.count("\n") == 1
    assert not any(word in said for word in OURS)
    assert not (project.home / "runs").exists()


@pytest.mark.parametrize("name", FAILING)
def test_a_step_that_misbehaves_has_failed_and_the_others_go_on(
    name: str, fleetml: Callable[..., int], project: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    document, words = FAILING[name]
    failed(document, words, fleetml, project, tmp_path, capsys)


def failed(
    document: dict[str, Any],
    words: str,
    fleetml: Callable[..., int],
    project: Settings,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Run a step that must fail with these words, beside one that must not; nothing but that one's result is left."""
    path = tmp_path / "p.yaml"
    path.write_text(json.dumps(document))
    assert fleetml("run", path, "--run-id", "r", "--workers", 2) == 1
    said = capsys.readouterr().err
    assert words in said
    assert len(said.splitlines()) <= 10
    assert not any(word in said for word in OURS)
    assert {step: attempt.state for step, attempt in Run(project.home, "r").latest().items()} == {
        "bad": "failed",
        "good": "succeeded",
    }
    assert [place.name[:5] for place in (project.home / "results").iterdir()] == ["good-"]


def test_a_file_with_other_names_is_published_as_one_of_its_own(
    fleetml: Callable[..., int], project: Settings, tmp_path: Path
) -> None:
    mine = tmp_path / "mine"
    mine.write_text("x")
    mine.chmod(0o644)
    code = f"write(P); os.link({str(mine)!r}, A)"
    path = tmp_path / "p.yaml"
    path.write_text(json.dumps(one_step(["python", "-c", HEAD + code], "{{$}}", **BOTH)))
    assert fleetml("run", path) == 0
    (data,) = (project.home / "results").glob("bad-*/data")
    mine.write_text("changed")
    assert data.read_text() == "x"
    assert mine.stat().st_mode & 0o777 == 0o644


def test_an_image_nobody_knows_is_named(
    fleetml: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(changed(f"{EXECUTOR}/container/image", "no/such:1"))
    assert fleetml("run", path) != 0
    assert "image 'no/such:1' has no environment on this machine" in capsys.readouterr().err


@pytest.mark.parametrize("left", ["os.symlink('x', A + '/link'); write(A + '/x')", "os.symlink('.', A + '/link')"])
def test_links_to_what_lies_beside_them_are_kept(
    left: str, fleetml: Callable[..., int], project: Settings, tmp_path: Path
) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(json.dumps(one_step(["python", "-c", HEAD + FOLDER + left], "{{$}}", **BOTH)))
    assert fleetml("run", path) == 0
    (link,) = (project.home / "results").glob("bad-*/data/link")
    assert link.is_symlink()


@pytest.mark.parametrize("name", CHANGES)
def test_a_step_that_changes_its_input_has_failed_and_nobody_reads_what_is_changed(
    name: str, fleetml: Callable[..., int], project: Settings, tmp_path: Path
) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(json.dumps(changing(CHANGES[name])))
    assert fleetml("run", path, "--run-id", "r") == 1
    failures = {step: attempt.failure for step, attempt in Run(project.home, "r").latest().items() if attempt.failure}
    assert failures["bad"]["message"].startswith("artifacts can only be read, input artifact 'data' of step 'bad'")
    assert failures["late"]["message"].startswith("artifacts are what their steps left, input artifact 'data'")


def test_a_step_may_touch_its_input_as_long_as_it_stays_what_it_is(fleetml: Callable[..., int], tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(json.dumps(changing("os.chmod(I + '/x', 0o600)")))
    assert fleetml("run", path) == 0


def test_of_many_failures_the_first_is_told(
    fleetml: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    document = one_step(["false"])
    tasks = document["root"]["dag"]["tasks"]
    tasks |= {f"bad-{number}": tasks["bad"] for number in range(30)}
    path = tmp_path / "p.yaml"
    path.write_text(json.dumps(document))
    assert fleetml("run", path, "--run-id", "r", "--workers", 4) == 1
    said = capsys.readouterr().err
    assert said.count("failed: exit status 1") == 1
    assert "30 more steps failed; see: fleetml status r" in said


def test_a_container_is_given_no_file_of_this_machine(
    containers: Containers, project: Settings, tmp_path: Path
) -> None:
    secret = tmp_path / "mine"
    secret.write_text("x")
    told = f"{{'artifacts': {{'data': {{'artifacts': [{{'custom_path': {str(secret)!r}}}]}}}}}}"
    code = HEAD + f"write(P); write(O, json.dumps({told}))"
    path = tmp_path / "p.yaml"
    path.write_text(json.dumps(one_step(["python", "-c", code], "{{$}}", **BOTH)))
    plan = load(path)
    assert local.run(local.Job(plan, path, {}, "r"), project, runner=containers.for_any_image()) == "failed"
    failure = Run(project.home, "r").latest()["bad"].failure
    assert failure is not None
    assert "output artifact 'data' of step 'bad' was not written to its path" in failure["message"]
