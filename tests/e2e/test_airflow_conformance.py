"""The conformance cases in a real Airflow; what a run of one shows, and shares with the local engine."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from fleetml.engines import local
from fleetml.errors import InvalidParameter
from fleetml.pipeline import Plan, load
from fleetml.pipeline.model import Loop
from tests.conformance.cases import CASES, Case
from tests.e2e.airflow_stack import Stack, needs_airflow

pytestmark = [pytest.mark.e2e, needs_airflow]


@pytest.fixture(scope="module")
def conformance(stack: Stack) -> Mapping[str, str]:
    """Start every case at once; return the run of each."""
    return {case.name: stack.client.trigger(case.pipeline, dict(case.parameters)) for case in CASES}


def tasks_of(case: Case, plan: Plan) -> dict[str, str]:
    """The states that the tasks of a case must have: of a loop known only in the run its items, iterations, outcome."""
    found: dict[str, str] = {}
    for name, step in plan.steps.items():
        if not isinstance(step, Loop):
            found[name] = case.steps[name]
            continue
        iterations: dict[str, str] = {}
        for inside, state in case.steps.items():
            if inside.startswith(f"{name}/"):
                index = f"{name}/iteration[{inside.removeprefix(f'{name}/').split('/')[0]}]"
                bad = "failed" in (state, iterations.get(index)) or state == "upstream_failed"
                iterations[index] = "failed" if bad else "succeeded"
        found[f"{name}/items"] = "succeeded"
        found |= iterations or {f"{name}/iteration[0]": "succeeded"}  # of an empty list: nothing to do
        found[f"{name}/outcome"] = "failed" if "failed" in iterations.values() else "succeeded"
    return found


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_conformance(case: Case, stack: Stack, conformance: Mapping[str, str]) -> None:
    run_id = conformance[case.name]
    tasks = stack.wait(case.pipeline, run_id)
    latest = stack.records(run_id).latest()
    assert {step: attempt.state for step, attempt in latest.items()} == case.steps
    shown = {task.replace(".", "/"): state.replace("success", "succeeded") for task, state in tasks.items()}
    plan = load(case.path, fold=True)
    assert shown.pop("parameters") == "succeeded"
    assert shown.pop("record") == case.state
    assert shown == tasks_of(case, plan)
    for place, value in case.outputs.items():
        step, _, output = place.rpartition(".")
        assert (latest[step].outcome or {})["parameters"][output] == value
    assert stack.records(run_id).read()["state"] == case.state
    assert stack.client.state(case.pipeline, run_id).replace("success", "succeeded") == case.state


def test_no_import_errors(stack: Stack) -> None:
    assert stack.client.import_errors() == []


def test_the_form_is_typed_and_the_server_refuses_what_does_not_fit(stack: Stack) -> None:
    shown = stack.client.call("GET", "dags/double/details")["params"]
    assert [(name, param["schema"]["type"]) for name, param in shown.items()] == [  # in the order of the signature
        ("needed", "integer"),
        ("word", ["string", "null"]),
        ("ratio", ["number", "null"]),
        ("flag", ["boolean", "null"]),
        ("items", ["array", "null"]),
        ("table", ["object", "null"]),
    ]
    assert shown["needed"]["description"] == "What is doubled."
    assert (shown["items"]["value"], shown["ratio"]["value"]) == ([1], 0.5)
    for conf in ({"needed": "three"}, {"needed": 1, "flag": "yes"}, {"needed": 1, "items": {}}, {}):
        with pytest.raises(InvalidParameter, match="Invalid input for param"):
            stack.client.trigger("double", conf)


def test_an_unknown_parameter_ends_the_run_before_the_first_step(stack: Stack) -> None:
    run_id = stack.client.trigger("double", {"needed": 1, "neded": 2})
    tasks = stack.wait("double", run_id)
    assert (tasks["parameters"], tasks["twice"], tasks["record"]) == ("failed", "upstream_failed", "failed")
    assert "did you mean 'needed'?" in stack.log("double", run_id, "parameters")
    assert not stack.records(run_id).exists()


def test_a_run_shows_its_steps_parameters_and_figures(stack: Stack) -> None:
    run_id, steps = stack.run("double", needed=21)
    assert {step: (a.outcome or {})["parameters"] for step, a in steps.items()} == {
        "twice": {"result": 42},
        "inside/twice": {"result": 84},
    }
    log = stack.log("double", run_id, "twice")
    assert "doubling 21" in log
    assert "done in " in log
    assert log.index("doubling 21") < log.index(": doubled 42, half 10.5, name two")
    assert "not shown" not in log
    assert "needed = 21" in stack.log("double", run_id, "parameters")
    record = stack.records(run_id).read()
    assert (record["engine"], record["state"], record["pipeline"]) == ("airflow", "succeeded", "double")
    assert record["parameters"]["needed"] == 21


def test_what_airflow_computed_is_a_hit_here_and_the_other_way_round(stack: Stack) -> None:
    stack.run("double", needed=5)
    plan = load(stack.path("double"))

    def here(number: int, run_id: str) -> list[bool]:
        job = local.Job(plan, stack.path("double"), plan.bind({"needed": number}), run_id)
        assert local.run(job, stack.settings) == "succeeded"
        return [attempt.cached for attempt in stack.records(run_id).latest().values()]

    assert here(5, "local-5") == [True, True]
    assert here(6, "local-6") == [False, False]
    run_id, steps = stack.run("double", needed=6)
    assert [attempt.cached for attempt in steps.values()] == [True, True]
    assert "reused in " in stack.log("double", run_id, "inside.twice")
