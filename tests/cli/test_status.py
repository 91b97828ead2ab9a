"""``fleetml status``, ``logs`` and ``costs``: what a run did, and why."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from fleetml.records import Run
from fleetml.settings import Settings
from tests.small_pipelines import Pipeline

PIPELINES = Path(__file__).parents[1] / "pipelines"


def test_a_run_and_its_status_show_what_the_pipeline_puts_out(
    fleetml: Callable[..., int], project: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fleetml("run", str(PIPELINES / "published.yaml"), "--run-id", "one", "-p", "word=wörd") == 0
    *before, last = capsys.readouterr().out.splitlines()
    shown = sorted(line for line in before if line.startswith("output "))
    uri = Run(project.home, "one").read()["outputs"]["data"]["uri"]
    assert shown == [f"output data = {uri}", "output numbers = [0, 1]", 'output said = "wörd"']
    assert last == "run one: succeeded"
    assert fleetml("status", "one") == 0
    assert sorted(capsys.readouterr().out.splitlines()[-3:]) == shown


def test_status_logs_and_costs_read_the_record(fleetml: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    fleetml("run", PIPELINES / "cleanup.yaml", "--run-id", "c")
    capsys.readouterr()
    assert fleetml("status") == 0
    assert capsys.readouterr().out.startswith("run c: failed; pipeline cleanup, engine local, started 20")  # the latest
    assert fleetml("status", "c") == 0
    out = capsys.readouterr().out
    assert "upstream_failed" in out
    assert "fail failed" in out
    assert fleetml("logs", "c", "echo-2") == 0
    assert "printed nothing" in capsys.readouterr().err  # not silence, which reads like a defect
    assert fleetml("logs", "c", "nothing") == 2
    assert fleetml("costs") == 0
    assert fleetml("costs", "c") == 0
    assert "CPU s" in capsys.readouterr().out


def test_status_says_why_a_step_was_run(
    fleetml: Callable[..., int], pipeline: Pipeline, stage: Callable[[str], str], capsys: pytest.CaptureFixture[str]
) -> None:
    code = "def a(): return {'out': 1}\ndef b(): return {'out': 1}\n"
    path = pipeline(code, {"a": [], "b": []}, uncached=("b",))

    def why(run_id: str, *words: str) -> list[str]:
        assert fleetml("run", path, "--run-id", run_id, *words) == 0
        capsys.readouterr()
        assert fleetml("status", run_id) == 0
        return [
            line.rpartition("(")[2].rstrip(")\n") if "(" in line else ""
            for line in capsys.readouterr().out.splitlines()[2:]
        ]

    assert why("one") == ["first run", "never cached"]
    assert why("two") == ["", "never cached"]
    stage(code + "# changed")
    assert why("three") == ["code changed", "never cached"]
    assert why("four", "--no-cache")[0] == "cache off, or its result was gone"


def test_the_columns_of_the_steps_have_heads(fleetml: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    fleetml("run", PIPELINES / "cleanup.yaml", "--run-id", "c")
    capsys.readouterr()
    fleetml("status", "c")
    head, *steps = capsys.readouterr().out.splitlines()[1:]
    assert head.split() == ["STEP", "STATE", "TOOK", "FIGURES", "(WHY", "IT", "WAS", "RUN)"]
    failed = next(line for line in steps if line.startswith("  fail "))
    assert failed[head.index("STATE") :].startswith("failed ")
    assert failed[: head.index("TOOK") + len("TOOK")].endswith(" s")
