"""Damaged records and caches, odd clocks, homes and outputs: told, and nothing else is harmed."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from fleetml.records import Run
from fleetml.settings import Settings
from tests.conformance.bad_input import BOTH, HEAD, OURS, one_step


def test_a_step_that_removes_the_run_s_records_is_told(
    fleetml: Callable[..., int], project: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "p.yaml"
    code = f"import shutil; shutil.rmtree({str(project.home / 'runs')!r})"
    path.write_text(json.dumps(one_step(["python", "-c", code])))
    assert fleetml("run", path, "--run-id", "r", "--workers", 1) == 1
    said = capsys.readouterr().err
    assert "runs/r was removed while it ran" in said
    assert not any(word in said for word in OURS)


@pytest.mark.parametrize(
    ("shell", "words"),
    [
        ("{run} | head -n 0; exit ${{PIPESTATUS[0]}}", ""),
        ("{run} >&- 2>&-", ""),
        ("{run} <&- >&- 2>&-", ""),
        ("PYTHONIOENCODING=ascii {run}", "run r: succeeded"),
    ],
    ids=["nobody reads", "closed", "all closed", "no UTF-8"],
)
def test_a_run_goes_on_whatever_becomes_of_its_output(
    shell: str, words: str, project: Settings, tmp_path: Path
) -> None:
    path = tmp_path / "p.yaml"
    document = one_step(["sh", "-c", "sleep 0.3"])
    document["root"]["dag"]["tasks"]["good"] |= {
        "dependentTasks": ["bad"],
        "triggerPolicy": {"condition": "'…' == 'ä'"},
    }
    path.write_text(json.dumps(document))
    environ = {**os.environ, "FLEETML_PROJECT": str(project.project)}
    run = f"{sys.executable} -m fleetml run '{path}' --run-id r"
    ended = subprocess.run(
        ["bash", "-c", shell.format(run=run)], env=environ, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    assert words in ended.stdout
    assert Run(project.home, "r").read()["state"] == "succeeded"


def test_a_result_whose_file_became_a_pipe_is_made_again(
    fleetml: Callable[..., int], project: Settings, tmp_path: Path
) -> None:
    document = one_step(["python", "-c", HEAD + "write(P); write(A)"], "{{$}}", **BOTH)
    document["root"]["dag"]["tasks"]["bad"]["cachingOptions"] = {"enableCache": True}
    path = tmp_path / "p.yaml"
    path.write_text(json.dumps(document))
    assert fleetml("run", path) == 0
    (data,) = (project.home / "results").glob("bad-*/data")
    data.unlink()
    os.mkfifo(data)
    assert fleetml("run", path, "--run-id", "r") == 0
    assert not Run(project.home, "r").latest()["bad"].cached


# A file of a run's records, what stands in it instead, and words of what `status` says
DAMAGES = {
    "no JSON": ("run.json", "{", "run.json is damaged"),
    "no mapping": ("run.json", "[1]", "run.json is damaged: it is no mapping"),
    "nothing in it": ("run.json", "{}", "run.json is damaged: its entry 'run_id' is missing"),
    "without end": ("run.json", "[" * 100_000, "run.json is damaged: it is nested without end"),
    "odd times": ("run.json", '{"run_id": "r", "state": "failed", "started": "x"}', "its entry 'started' is missing"),
    "an attempt that is no JSON": ("steps/bad/attempt-1.json", "{", "attempt-1.json is damaged"),
    "an attempt that is no mapping": ("steps/bad/attempt-1.json", "[]", "attempt-1.json is damaged"),
    "an attempt of odd types": (
        "steps/bad/attempt-1.json",
        '{"step": "bad", "number": 1, "state": "succeeded", "outcome": 5}',
        "attempt-1.json is damaged: its entry 'outcome'",
    ),
    "an attempt of odd times": (
        "steps/bad/attempt-1.json",
        '{"step": "bad", "number": 1, "state": "succeeded", "started": "x"}',
        "attempt-1.json is damaged: its entry 'started'",
    ),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damaged_records_are_named_and_take_no_other_run_down(
    name: str, fleetml: Callable[..., int], project: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, content, words = DAMAGES[name]
    path = tmp_path / "p.yaml"
    path.write_text(json.dumps(one_step(["true"])))
    for run in ("other", "r"):
        assert fleetml("run", path, "--run-id", run) == 0
    (project.home / "runs/r" / file).write_text(content)
    capsys.readouterr()
    whole = file == "run.json"
    assert fleetml("status", "r") == (2 if whole else 0)
    assert words in "".join(capsys.readouterr())
    assert fleetml("ls") == 0
    assert "other" in capsys.readouterr().out
    assert fleetml("resume", "r") == (2 if whole else 0)
    assert not any(word in "".join(capsys.readouterr()) for word in OURS)


def test_a_record_that_lacks_the_usual_takes_no_other_run_down(
    fleetml: Callable[..., int], project: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    place = project.home / "runs/r/run.json"
    place.parent.mkdir(parents=True)
    place.write_text('{"run_id": "r", "state": "failed"}')
    assert [fleetml("ls"), fleetml("status", "r"), fleetml("status"), fleetml("costs", "r")] == [0, 0, 0, 0]
    assert fleetml("gc", "--dry-run") == 0
    assert not any(word in "".join(capsys.readouterr()) for word in OURS)


def test_a_cache_entry_without_end_is_no_hit(fleetml: Callable[..., int], project: Settings, tmp_path: Path) -> None:
    document = one_step(["true"])
    document["root"]["dag"]["tasks"]["bad"]["cachingOptions"] = {"enableCache": True}
    path = tmp_path / "p.yaml"
    path.write_text(json.dumps(document))
    assert fleetml("run", path) == 0
    (entry,) = (project.home / "cache").glob("*.json")
    entry.write_text("[" * 100_000)
    assert fleetml("run", path) == 0


@pytest.mark.parametrize("jump", [-1e8, 1e8], ids=["back", "forth"])
def test_a_clock_that_jumps_changes_no_duration(
    jump: float,
    fleetml: Callable[..., int],
    project: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(json.dumps(one_step(["true"])))
    jumps, real = itertools.count(), time.time
    monkeypatch.setattr("time.time", lambda: real() + jump * min(1, next(jumps) // 4))
    assert fleetml("run", path, "--run-id", "r", "--workers", 1) == 0
    monkeypatch.undo()
    monkeypatch.setenv("FLEETML_PROJECT", str(project.project))
    attempts = Run(project.home, "r").latest().values()
    assert all(0 <= attempt.seconds < 1e3 for attempt in attempts)
    capsys.readouterr()
    assert fleetml("status", "r") == 0
    assert "-" not in capsys.readouterr().out.splitlines()[0].rpartition(":")[2]


@pytest.mark.parametrize("home", ["a file", "a file/below", "/proc/none"])
def test_a_home_that_cannot_be_written_is_named(
    home: str,
    fleetml: Callable[..., int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(json.dumps(one_step(["true"])))
    (tmp_path / "a file").write_text("")
    monkeypatch.setenv("FLEETML_HOME", str(tmp_path / home))
    assert fleetml("run", path, "--run-id", "r") == 1
    said = capsys.readouterr().err
    assert f"a run's records must be writable, {tmp_path / home}/runs/r is not" in said
    assert "set FLEETML_HOME" in said
