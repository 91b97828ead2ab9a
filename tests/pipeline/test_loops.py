"""Loops in the plan: what is unfolded when, what waits for what, and what must be refused."""

import pytest

from fleetml.errors import InvalidPipeline
from fleetml.pipeline import plan_of
from fleetml.pipeline.model import Collected, Constant, Loop, StepOutput


@pytest.fixture
def loop(ir):
    return ir("loop")


def iterator(document, **changes):
    task = document["root"]["dag"]["tasks"]["for-loop-2"]
    for key, value in changes.items():
        task[key] = value
    return document


def test_a_loop_over_literals_is_unfolded_at_once(loop):
    plan = plan_of(loop)
    assert [name for name in plan.steps if name.startswith("for-loop-2")] == ["for-loop-2/0/echo", "for-loop-2/1/echo"]
    assert plan.steps["for-loop-2/1/echo"].parameters["text"] == Constant("y")
    assert plan.groups["for-loop-2/1"].label == "each [1]"
    assert plan.steps["total"].parameters["values"] == Collected(
        (StepOutput("for-loop-2/0/echo", "out"), StepOutput("for-loop-2/1/echo", "out"))
    )
    assert set(plan.steps["total"].upstream) == {"for-loop-2/0/echo", "for-loop-2/1/echo"}


def test_one_over_a_list_of_the_run_waits_for_it_and_is_unfolded_then(loop, outcome):
    plan = plan_of(loop)
    waiting = plan.steps["for-loop-4/0/for-loop-5"]
    assert isinstance(waiting, Loop)
    assert waiting.upstream == ("count",)
    assert set(plan.steps["total-2"].upstream) >= {"for-loop-4/0/for-loop-5", "for-loop-4/1/for-loop-5"}
    made = {"count": outcome(numbers=[7, 8])}
    items = plan.resolve(waiting.name, {"n": 2}, made, {}).parameters["items"]
    assert items == [7, 8]
    unfolded = plan.unfold({waiting.name: items})
    assert f"{waiting.name}/1/echo-3" in unfolded.steps
    assert waiting.name not in unfolded.steps
    assert isinstance(unfolded.steps["for-loop-4/1/for-loop-5"], Loop)
    same = set(plan.steps) & set(unfolded.steps) - {"total-2"}
    assert {name: plan.steps[name] for name in same} == {name: unfolded.steps[name] for name in same}


def test_a_loop_over_nothing_is_over_when_what_it_waits_for_is(loop):
    plan = plan_of(iterator(loop, parameterIterator={"itemInput": ITEM, "items": {"raw": "[]"}}))
    assert plan.steps["total"].upstream == ()
    assert plan.resolve("total", {}, {}, {}).parameters["values"] == []


def test_a_failed_iteration_fails_what_follows_the_loop(loop, outcome):
    plan = plan_of(loop)
    outcomes = {"for-loop-2/0/echo": outcome("failed"), "for-loop-2/1/echo": outcome(out="y")}
    decision = plan.decide("total", {}, outcomes)
    assert decision.action == "upstream_failed"
    assert "for-loop-2" in decision.reason


def test_artifacts_of_iterations_are_one_list_without_those_that_were_skipped(loop, outcome):
    plan = plan_of(loop)
    entry = {"name": "data", "type": "system.Dataset", "uri": "/d", "digest": "x", "metadata": {}}
    outcomes = {
        "many/for-loop-1/0/draw": outcome("skipped"),
        "many/for-loop-1/1/draw": outcome(artifacts={"data": [entry]}),
    }
    assert plan.resolve("many/join", {}, outcomes, {}).artifacts == {"data": [entry]}


ITEM = "pipelinechannel--loop-item-param-1"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"parameterIterator": {"itemInput": ITEM, "items": {"raw": "[1"}}},
            r"items.raw must be a JSON list, got '\[1'",
        ),
        (
            {"parameterIterator": {"itemInput": ITEM, "items": {"raw": "{}"}}},
            r"items.raw must be a JSON list, got '{}'",
        ),
        ({"parameterIterator": {"itemInput": ITEM, "items": {}}}, "a loop needs items"),
        (
            {"parameterIterator": {"itemInput": ITEM, "items": {"inputParameter": "nope"}}},
            "no input of the loop 'nope'",
        ),
        (
            {"parameterIterator": {"itemInput": "nope", "items": {"raw": "[1]"}}},
            "the required parameter .* is not given",
        ),
        (
            {"artifactIterator": {"itemInput": "x", "items": {"inputArtifact": "x"}}},
            "parameters or artifacts, not both",
        ),
        ({"iteratorPolicy": {"parallelismLimit": -1}}, "parallelismLimit must be a whole number >= 0, got -1"),
        ({"componentRef": {"name": "comp-echo"}}, "a loop goes over a dag, components.comp-echo is none"),
    ],
)
def test_a_loop_that_makes_no_sense_is_refused(loop, changes, message):
    with pytest.raises(InvalidPipeline, match=message):
        plan_of(iterator(loop, **changes))


def test_one_artifact_is_no_list_of_them(ir):
    broken = ir("loop")
    del broken["components"]["comp-join"]["inputDefinitions"]["artifacts"]["data"]["isArtifactList"]
    with pytest.raises(InvalidPipeline, match=r"must be one of system\.Dataset, got a list"):
        plan_of(broken)
