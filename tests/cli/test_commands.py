"""``fleetml`` as a user types it: real processes, their output and exit status."""

from __future__ import annotations

import importlib.metadata
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from fleetml.pipeline.values import canonical_json
from fleetml.records import Run
from fleetml.settings import Settings
from tests.cli.processes import command
from tests.small_pipelines import Pipeline

PIPELINES = Path(__file__).parents[1] / "pipelines"
BRANCHES = str(PIPELINES / "branches.yaml")


def test_run_shows_each_step_and_how_the_run_ended(
    fleetml: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert fleetml("run", BRANCHES, "--run-id", "one", "-p", "size=11") == 0
    out = capsys.readouterr().out
    assert "condition-branches-1/condition-2/echo  " in out
    assert "skipped" in out
    assert "size = 11" in out  # why a step was skipped
    assert out.endswith("run one: succeeded\n")
    assert "\x1b" not in out


def test_a_failed_step_is_told_in_ten_lines_and_the_status(
    fleetml: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert fleetml("run", PIPELINES / "cleanup.yaml", "--run-id", "bad") == 1
    err = capsys.readouterr().err
    assert "step 'fail' failed: exit status 3" in err
    assert "fleetml resume bad" in err
    assert len(err.splitlines()) <= 10


def test_parameters_from_a_file_and_from_triggers(
    fleetml: Callable[..., int], project: Settings, tmp_path: Path
) -> None:
    folder = tmp_path / "pipeline"
    folder.mkdir()
    (folder / "pipeline.yaml").write_text(Path(BRANCHES).read_text())
    (folder / "triggers.yaml").write_text("defaults: {word: triggered, size: 12}")
    (tmp_path / "params.yaml").write_text(canonical_json({"size": 13, "heads": False}))
    assert fleetml("run", folder, "--run-id", "p", "--params", tmp_path / "params.yaml", "-p", "size=14") == 0
    found = Run(project.home, "p").read()["parameters"]
    assert found == {"word": "triggered", "size": 14, "heads": False, "floor": 0.5}


def test_a_run_id_is_used_once(fleetml: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    assert fleetml("run", BRANCHES, "--run-id", "x") == 0
    assert fleetml("run", BRANCHES, "--run-id", "x") == 2
    assert "fleetml resume x" in capsys.readouterr().err


def test_resume_keeps_what_is_finished_and_names_what_is_stale(
    fleetml: Callable[..., int], pipeline: Pipeline, stage: Callable[[str], str], capsys: pytest.CaptureFixture[str]
) -> None:
    code = "def a(): return {'out': 1}\ndef b(a): raise ValueError\n"
    path = pipeline(code, {"a": [], "b": ["a"]})
    assert fleetml("run", path, "--run-id", "r") == 1
    stage(code.replace("raise ValueError", "return {'out': a + 1}"))
    capsys.readouterr()
    assert fleetml("resume", "r") == 0
    out = capsys.readouterr().out
    assert out.startswith(
        "keeping 1 finished steps of 2\n  stale: a (code changed since); kept, --recheck runs it again\n"
    )
    assert fleetml("resume", "r", "--recheck") == 0
    assert "keeping 0 finished steps" in capsys.readouterr().out
    assert fleetml("resume", "r") == 0
    assert capsys.readouterr().out == "run r succeeded, and all it made is there: nothing to do\n"


def test_a_resumed_run_reuses_nothing_where_it_was_told_so(
    fleetml: Callable[..., int], pipeline: Pipeline, project: Settings
) -> None:
    path = pipeline("def a(): return {'out': 1}\ndef b(a): return {'out': a}\n", {"a": [], "b": ["a"]})
    assert fleetml("run", path, "--run-id", "first") == 0
    assert fleetml("run", path, "--run-id", "second", "--no-cache") == 0
    records = Run(project.home, "second")
    for attempt in (records.step_folder("b")).glob("attempt-*.json"):
        attempt.unlink()
    assert fleetml("resume", "second") == 0
    assert not records.latest()["b"].cached


def test_compile_check_finds_what_differs(
    fleetml: Callable[..., int], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    source = tmp_path / "pipeline.py"
    source.write_text(
        "from kfp import dsl\n"
        "@dsl.container_component\n"
        "def c(n: int):\n    return dsl.ContainerSpec(image='i', command=['true'], args=[n])\n"
        "@dsl.pipeline(name='p')\ndef p(n: int = 1):\n    c(n=n)\n"
    )
    assert fleetml("compile", source) == 0
    assert fleetml("compile", "--check", tmp_path) == 0
    source.write_text(source.read_text().replace("n: int = 1", "n: int = 2"))
    assert fleetml("compile", "--check", source) == 1
    assert "differs" in capsys.readouterr().out


def test_the_version_is_told(fleetml: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        fleetml("--version")
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"fleetml {importlib.metadata.version('fleetml')}\n"


def test_a_lineage_configuration_that_is_not_there_is_told_once(
    project: Settings, pipeline: Pipeline, environ: dict[str, str], tmp_path: Path
) -> None:
    path = pipeline("def a(): return {'out': 1}\n", {"a": []})
    environ["OPENLINEAGE_CONFIG"] = str(tmp_path / "nowhere.yml")
    done = subprocess.run(command("run", path), env=environ, capture_output=True, text=True)
    assert done.returncode == 0
    assert done.stderr.count(f"OPENLINEAGE_CONFIG names a readable file, {tmp_path}/nowhere.yml is none") == 1
    assert len(done.stderr.splitlines()) == 1
