"""What a user types wrong, what the system refuses and what we do wrong: one line each, and the exit status."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from fleetml.settings import Settings

PIPELINES = Path(__file__).parents[1] / "pipelines"
BRANCHES = str(PIPELINES / "branches.yaml")


def test_the_source_of_a_pipeline_is_to_be_compiled_first(
    fleetml: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    source = str(PIPELINES / "branches.py")
    assert fleetml("run", source) == 2
    assert f"fleetml compile {source}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (("run", BRANCHES, "-p", "size=x"), 2, "must be an integer, got 'x'"),
        (("run", BRANCHES, "-p", "sizes=3"), 2, "did you mean 'size'"),
        (("run", BRANCHES, "-p", "size"), 2, "NAME=VALUE"),
        (("run", BRANCHES, "-p", "size=1", "-p", "word=a", "-p", "size=2"), 2, "'size' is given as '1' and as '2'"),
        (("train", "nojob.yaml"), 2, "train takes a training job (YAML or JSON) or the folder of a pipeline"),
        (("train", str(PIPELINES / "branches.py")), 2, "a pipeline runs from its IR"),
        (("submit", BRANCHES, "--host", "http://h", "--image", "a=b@c", "--image", "a=d"), 2, "'a' is given as b@c"),
        (("run", "no/such/place"), 2, "is not there"),
        (("run", str(PIPELINES / "task_config.yaml")), 1, "is not run yet"),
        (("run", BRANCHES, "--run-id", "../out"), 2, "a run id is"),
        (("status", "nobody"), 2, "no run 'nobody'"),
        (("logs", "nobody", "x"), 2, "no run 'nobody'"),
        (("submit", BRANCHES), 2, "--host"),
    ],
)
def test_a_mistake_is_one_line(
    fleetml: Callable[..., int], capsys: pytest.CaptureFixture[str], words: tuple[str, ...], status: int, said: str
) -> None:
    assert fleetml(*words) == status
    err = capsys.readouterr().err
    assert said in err
    assert "Traceback" not in err


def test_a_mistake_of_ours_is_one_line_and_a_file(
    fleetml: Callable[..., int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr("fleetml.cli.costs.run", lambda args, settings: {}["oops"])
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    assert fleetml("costs") == 70
    err = capsys.readouterr().err
    assert err.startswith("error: KeyError: 'oops'; a mistake of FleetML itself")
    assert len(err.splitlines()) == 1
    assert "Traceback" in Path(err.split()[-1]).read_text()


def test_errors_tell_no_password(
    fleetml: Callable[..., int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def fail(args: object, settings: object) -> int:
        raise RuntimeError("postgresql://u:pass99@h/db")

    monkeypatch.setattr("fleetml.cli.costs.run", fail)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert fleetml("costs") == 70
    err = capsys.readouterr().err
    assert "postgresql://u:***@h/db" in err
    assert "pass99" not in err + Path(err.split()[-1]).read_text()


def test_what_the_system_refuses_is_one_line(
    fleetml: Callable[..., int], project: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    project.home.write_text("a file where the folder should be")
    assert fleetml("run", BRANCHES) == 1
    err = capsys.readouterr().err
    assert len(err.splitlines()) == 1
    assert str(project.home) in err


@pytest.mark.parametrize("words", [("ls", "--limit=0"), ("ls", "--limit=-3"), ("gc", "--dry-run", "--keep-last=-1")])
def test_a_count_that_is_none_is_refused(
    words: tuple[str, ...], fleetml: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        fleetml(*words)
    assert ended.value.code == 2
    assert f"{words[-1].split('=')[0]}: must be a whole number from" in capsys.readouterr().err


@pytest.mark.parametrize("number", ["0", "-1", "many"])
def test_workers_are_a_number_from_one(
    fleetml: Callable[..., int], capsys: pytest.CaptureFixture[str], number: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        fleetml("run", BRANCHES, f"--workers={number}")
    assert ended.value.code == 2
    assert "whole number from 1" in capsys.readouterr().err


def test_parameters_that_are_no_mapping_are_refused(
    fleetml: Callable[..., int], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for text in ("[1, 2]", "{"):
        (tmp_path / "params.yaml").write_text(text)
        assert fleetml("run", BRANCHES, "--params", tmp_path / "params.yaml") == 2
        assert "params.yaml" in capsys.readouterr().err
