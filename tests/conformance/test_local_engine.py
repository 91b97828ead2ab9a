"""The local engine holds every case, with processes, forks and containers."""

from dataclasses import replace

import pytest

from fleetml.engines import local
from fleetml.pipeline import load
from fleetml.records import Run
from fleetml.runners import Runner, choice
from fleetml.settings import Settings
from tests.conformance.cases import CASES, Case


@pytest.fixture(params=["subprocess", "warm", "docker"])
def runner(request: pytest.FixtureRequest, project: Settings) -> Runner:
    if request.param == "docker":
        return request.getfixturevalue("containers").for_any_image()
    return choice.choose(replace(project, runner=request.param))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_case(case: Case, project: Settings, runner: Runner) -> None:
    plan = load(case.path)
    job = local.Job(plan, case.path, plan.bind(case.parameters), "run")
    assert local.run(job, project, runner=runner) == case.state
    latest = Run(project.home, "run").latest()
    assert {step: attempt.state for step, attempt in latest.items()} == case.steps
    for place, value in case.outputs.items():
        step, _, output = place.rpartition(".")
        assert latest[step].outcome is not None
        assert latest[step].outcome["parameters"][output] == value
    assert Run(project.home, "run").read()["state"] == case.state
