"""The conformance cases with a store: everything is as without one, on a second machine too."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fleetml.engines import local
from fleetml.pipeline import load
from fleetml.records import Run
from fleetml.settings import Settings
from tests.conformance.cases import CASES, Case

CHOSEN = [case for case in CASES if case.pipeline in ("branches", "types", "loop", "importer", "nested", "cleanup")]


@pytest.fixture
def machine(project: Settings, tmp_path: Path) -> Settings:
    return replace(project, home=tmp_path / "one", store=f"file://{tmp_path}/a store")


def outcomes(case: Case, settings: Settings) -> dict[str, Any]:
    plan = load(case.path)
    job = local.Job(plan, case.path, plan.bind(case.parameters), "r", workers=2)
    assert local.run(job, settings) == case.state
    latest = Run(settings.home, "r").latest()
    assert {step: attempt.state for step, attempt in latest.items()} == case.steps
    for place, value in case.outputs.items():
        step, _, output = place.rpartition(".")
        assert (latest[step].outcome or {})["parameters"][output] == value
    return {step: attempt.outcome for step, attempt in latest.items()}


def contents(outcomes: dict[str, Any]) -> dict[str, list[str]]:
    return {
        step: [item["digest"] for items in (outcome or {})["artifacts"].values() for item in items]
        for step, outcome in outcomes.items()
    }


@pytest.mark.parametrize("case", CHOSEN, ids=lambda case: case.name)
def test_conformance(case: Case, machine: Settings, tmp_path: Path) -> None:
    first = outcomes(case, machine)
    second = replace(machine, home=tmp_path / "two")
    if (machine.home / "cache").is_dir():
        shutil.copytree(machine.home / "cache", second.home / "cache")
    again = outcomes(case, second)
    assert contents(again) == contents(first)
    here = Run(machine.home, "r").here().values()
    paths = [item["uri"] for a in here for items in (a.outcome or {})["artifacts"].values() for item in items]
    assert all(path.startswith("/") for path in paths)
    made = [item for o in first.values() for items in (o or {})["artifacts"].values() for item in items]
    assert all(item["uri"].startswith(machine.store) for item in made if "imported" not in item["uri"])
