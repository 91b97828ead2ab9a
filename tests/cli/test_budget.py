"""A pipeline with a budget: what is said when it is used up, what stops, and how a run goes on."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import pytest

from fleetml.records import Run
from fleetml.settings import Settings
from tests.small_pipelines import Pipeline

CODE = "def a(): return {'out': 1}\ndef b(a): return {'out': a + 1}\ndef c(b): return {'out': b + 1}\n"
STEPS = {"a": [], "b": ["a"], "c": ["b"]}
Fleetml = Callable[..., int]


def test_a_limit_without_stop_is_an_alarm(
    fleetml: Fleetml, pipeline: Pipeline, project: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    ir = pipeline(CODE, STEPS)
    ir.with_name("triggers.yaml").write_text("budget: {run: {kwh: 1.0e-12}, month: {money: 1000}}\n")
    assert fleetml("run", str(ir), "--run-id", "r") == 0
    log = Run(project.home, "r").log("a")
    assert log is not None
    assert "fleetml: over budget: this run has used" in log.read_text()
    told = (project.home / "metrics" / "runs.prom").read_text()
    assert 'fleetml_budget_spent_ratio{pipeline="p",period="run",quantity="kwh"}' in told
    assert 'fleetml_budget_spent_ratio{pipeline="p",period="month",quantity="money"}' in told


def test_a_run_stops_before_its_next_step_and_goes_on_when_told(
    fleetml: Fleetml, pipeline: Pipeline, project: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    ir = pipeline(CODE, STEPS)
    ir.with_name("triggers.yaml").write_text("budget: {run: {kwh: 1.0e-12, stop: true}}\n")
    assert fleetml("run", str(ir), "--run-id", "r") == 1
    said = capsys.readouterr().err
    assert "a step is run within its pipeline's budget, this run has used" in said
    assert "fleetml resume r --no-budget" in said
    run = Run(project.home, "r")
    assert {step: attempt.state for step, attempt in run.latest().items()} == {
        "a": "succeeded",
        "b": "failed",
        "c": "upstream_failed",
    }
    assert run.latest()["b"].failure["type"] == "OverBudget"  # type: ignore[index]
    assert fleetml("resume", "r") == 1
    assert fleetml("resume", "r", "--no-budget") == 0
    assert {attempt.state for attempt in run.latest().values()} == {"succeeded"}


def test_what_the_month_has_cost_before_counts_and_reuse_is_free(
    fleetml: Fleetml, pipeline: Pipeline, project: Settings
) -> None:
    ir = pipeline(CODE, STEPS)
    assert fleetml("run", str(ir), "--run-id", "before") == 0
    spent = Run(project.home, "before").read()["cost"]["money"]
    ir.with_name("triggers.yaml").write_text(json.dumps({"budget": {"month": {"money": spent * 0.9, "stop": True}}}))
    assert fleetml("run", str(ir), "--run-id", "reused") == 0
    assert fleetml("run", str(ir), "--run-id", "anew", "--no-cache") == 1
    assert Run(project.home, "anew").latest()["a"].failure["type"] == "OverBudget"  # type: ignore[index]
    ir.write_text(ir.read_text().replace('"pipelineInfo":{"name":"p"}', '"pipelineInfo":{"name":"other"}'))
    assert fleetml("run", str(ir), "--run-id", "other", "--no-cache") == 0, "the budget is that of each pipeline"


def test_a_budget_that_was_removed_alarms_no_more(fleetml: Fleetml, pipeline: Pipeline, project: Settings) -> None:
    ir = pipeline(CODE, STEPS)
    triggers, figures = ir.with_name("triggers.yaml"), project.home / "metrics" / "runs.prom"
    for budget, quantities in (
        ("budget: {run: {kwh: 1.0e-12, money: 1}}", {"kwh", "money"}),
        ("budget: {run: {money: 1}}", {"money"}),
        ("retries: 0", set()),
    ):
        triggers.write_text(f"{budget}\n")
        assert fleetml("run", str(ir)) == 0
        told = re.findall(
            r'^fleetml_budget_spent_ratio{pipeline="p",period="run",quantity="(\w+)"}', figures.read_text(), re.M
        )
        assert set(told) == quantities
