"""What runs, what is skipped and what fails, on whole pipelines; expectations follow KFP's semantics."""

import pytest

from fleetml.errors import InvalidPipeline
from fleetml.pipeline import plan_of

ONE, TWO, THREE = (f"condition-branches-1/condition-{n}" for n in (2, 3, 4))


def walk(plan, parameters=None, made=None, failing=()):
    """Play a run: every step that runs succeeds with `made` (or fails); return states and reasons by step."""
    bound = plan.bind(parameters or {})
    outcomes, reasons = {}, {}
    for name, step in plan.steps.items():
        assert set(step.upstream) <= set(outcomes), "steps come in topological order"
        assert set(step.reads) <= set(outcomes), "what a decision reads is over by then"
        known = {read: outcomes[read] for read in step.reads}  # nothing else may be needed
        decision = plan.decide(name, bound, known)
        state = {"run": "failed" if name in failing else "succeeded", "skip": "skipped"}.get(
            decision.action, decision.action
        )
        if state == "succeeded":
            plan.resolve(name, bound, known, {})
        artifacts = {n: [{"name": n, "uri": f"/{name}/{n}"}] for n in step.output_artifacts}
        parameters_out = (made or {}).get(name, {n: f"{name}:{n}" for n in step.output_parameters})
        outcomes[name] = {"state": state, "parameters": parameters_out, "artifacts": artifacts}
        reasons[name] = decision.reason
    return bound, outcomes, reasons


def states(outcomes, state="succeeded"):
    return {name for name, outcome in outcomes.items() if outcome["state"] == state}


HEADS = {"flip": {"result": True}}
TAILS = {"flip": {"result": False}}


@pytest.mark.parametrize(
    ("size", "word", "branch", "text"),
    [(11, "it's", ONE, "echo"), (10, "it's", TWO, "echo-2"), (10, "its", THREE, "echo-3")],
)
def test_exactly_one_branch_runs_and_oneof_takes_its_output(plan_of_file, size, word, branch, text):
    plan = plan_of_file("branches")
    bound, outcomes, _ = walk(plan, {"size": size, "word": word}, HEADS)
    ran = {name for name in states(outcomes) if name.startswith("condition-branches")}
    assert {name.rsplit("/", 1)[0] for name in ran} == {branch}
    assert plan.resolve("echo-4", bound, outcomes, {}).parameters == {"text": f"{branch}/{text}:out"}
    (entry,) = plan.resolve("read", bound, outcomes, {}).artifacts["data"]
    assert entry["uri"].startswith(f"/{branch}/draw")
    assert plan.resolve_outputs(bound, outcomes) == {"Output": "echo-4:out"}


def test_if_on_an_output_decides_by_its_value_and_says_so(plan_of_file):
    plan = plan_of_file("branches")
    _, heads, reasons = walk(plan, {}, HEADS)
    assert {"condition-5/echo-5", "condition-5/condition-6/echo-6"} <= states(heads)
    assert states(heads, "skipped") >= {"condition-7/echo-7"}
    assert reasons["condition-7/echo-7"] == "flip-result == false is false: flip-result = True"
    _, tails, _ = walk(plan, {}, TAILS)
    assert {"condition-7/echo-7"} <= states(tails)
    assert {"condition-5/echo-5", "condition-5/condition-6/echo-6"} <= states(tails, "skipped")


def test_a_false_outer_condition_skips_the_inner_one_and_names_the_outer(plan_of_file):
    _, _, reasons = walk(plan_of_file("branches"), {}, TAILS)
    assert reasons["condition-5/condition-6/echo-6"].startswith("flip-result == true is false")


def test_the_inner_condition_reads_the_pipelines_parameter(plan_of_file):
    _, outcomes, _ = walk(plan_of_file("branches"), {"floor": 0.2}, HEADS)
    assert states(outcomes, "skipped") >= {"condition-5/condition-6/echo-6"}
    assert "condition-5/echo-5" in states(outcomes)


def test_a_skip_inside_a_pipeline_that_ran_does_not_skip_what_comes_after(plan_of_file):
    plan = plan_of_file("nested")
    _, outcomes, _ = walk(plan)
    assert states(outcomes, "skipped") == {"middle/inner/condition-1/echo-2", "inner/condition-1/echo-2"}
    assert {"middle/read", "inner/echo", "echo-2"} <= states(outcomes)


def test_defaults_and_optional_parameters_of_nested_pipelines(plan_of_file):
    """`again` is optional and not given, so inner's own default of 3 counts; `times` is given outside."""
    _, outcomes, reasons = walk(plan_of_file("nested"), {"times": 6})
    assert reasons["middle/inner/condition-1/echo-2"] == "int(times) > 5 is false: times = 3"
    assert "inner/condition-1/echo-2" in states(outcomes)


def test_texts_made_of_outputs(plan_of_file):
    plan = plan_of_file("nested")
    bound, outcomes, _ = walk(plan)
    assert plan.resolve("middle/inner/echo", bound, outcomes, {}).parameters == {"text": "<echo:out>"}
    assert plan.resolve("echo-2", bound, outcomes, {}).parameters == {"text": "middle/inner/echo:out+inner/echo:out"}


def test_a_sub_dag_waits_for_all_of_what_comes_before_it(plan_of_file):
    plan = plan_of_file("nested")
    assert plan.steps["inner/echo"].upstream == ("middle/read",)  # the last of middle
    assert plan.steps["middle/read"].upstream == (
        "middle/draw",
        "middle/inner/condition-1/echo-2",
        "middle/inner/echo",
    )
    assert plan.steps["middle/inner/echo"].group == ("middle", "middle/inner")
    assert plan.groups["middle/inner"].steps == ("middle/inner/condition-1/echo-2", "middle/inner/echo")


def test_a_failure_inside_a_sub_dag_fails_what_comes_after_it(plan_of_file):
    _, outcomes, reasons = walk(plan_of_file("nested"), {"times": 6}, failing={"middle/draw"})
    assert states(outcomes) == {"echo"}
    assert states(outcomes, "upstream_failed") == set(outcomes) - {"echo", "middle/draw"}
    assert reasons["middle/inner/echo"] == "middle/draw failed"
    assert reasons["inner/echo"] == "middle failed"


def test_ignore_upstream_failure_runs_after_a_failure_and_the_other_does_not(plan_of_file):
    plan = plan_of_file("cleanup")
    assert plan.steps["echo-2"].runs_after_failure
    assert not plan.steps["echo"].runs_after_failure
    _, outcomes, _ = walk(plan, failing={"fail"})
    assert {name: outcome["state"] for name, outcome in outcomes.items()} == {
        "fail": "failed",
        "echo": "upstream_failed",
        "echo-2": "succeeded",
    }


def test_a_cancelled_step_fails_what_comes_after(plan_of_file):
    plan = plan_of_file("strangers")
    decision = plan.decide("save", plan.bind({}), {"add": {"state": "cancelled"}})
    assert (decision.action, decision.reason) == ("upstream_failed", "add cancelled")


def test_an_input_from_a_skipped_step_skips_its_reader(ir):
    """kfp refuses to compile this; a hand-written IR may hold it."""
    document = ir("branches")
    tasks = document["components"]["comp-condition-branches-1"]["dag"]["outputs"]["parameters"]
    (selectors,) = (value["valueFromOneof"]["parameterSelectors"] for value in tasks.values())
    del selectors[1:]
    _, outcomes, reasons = walk(plan_of(document), {"size": 1, "word": "x"}, HEADS)
    assert outcomes["echo-4"]["state"] == "skipped"
    assert "'text'" in reasons["echo-4"]


def test_a_sub_dag_that_was_skipped_skips_what_depends_on_it(ir):
    document = ir("branches")
    document["root"]["dag"]["tasks"]["flip-after"] = {
        "componentRef": {"name": "comp-flip"},
        "dependentTasks": ["condition-5"],
        "inputs": {"parameters": {"heads": {"runtimeValue": {"constant": True}}}},
    }
    _, outcomes, reasons = walk(plan_of(document), {}, TAILS)
    assert outcomes["flip-after"]["state"] == "skipped"
    assert reasons["flip-after"] == "condition-5 was skipped"
    _, outcomes, _ = walk(plan_of(document), {"floor": 0.0}, HEADS)
    assert outcomes["flip-after"]["state"] == "succeeded"


def test_a_condition_on_a_leaf_task_and_on_a_missing_value(ir):
    document = ir("strangers")
    save = document["root"]["dag"]["tasks"]["save"]
    save["triggerPolicy"] = {"condition": "int(inputs.parameter_values['value']) > 2"}
    plan = plan_of(document)
    assert plan.decide("save", {"a": 1}, {"add": {"state": "succeeded", "parameters": {"Output": 3}}}).action == "run"
    assert plan.decide("save", {"a": 1}, {"add": {"state": "succeeded", "parameters": {"Output": 2}}}).action == "skip"
    with pytest.raises(InvalidPipeline, match="was not given"):
        plan.decide("save", {"a": 1}, {"add": {"state": "succeeded", "parameters": {}}})
    with pytest.raises(InvalidPipeline, match="must be an integer, got 'x'"):
        plan.decide("save", {"a": 1}, {"add": {"state": "succeeded", "parameters": {"Output": "x"}}})


def test_a_pipeline_parameter_that_is_not_given_leaves_the_nested_pipelines_default(ir):
    document = ir("nested")
    document["root"]["inputDefinitions"]["parameters"]["maybe"] = {
        "parameterType": "NUMBER_INTEGER",
        "isOptional": True,
    }
    given = document["root"]["dag"]["tasks"]["middle"]["inputs"]["parameters"]
    given["again"] = {"componentInputParameter": "maybe"}
    plan = plan_of(document)
    _, _, reasons = walk(plan)
    assert reasons["middle/inner/condition-1/echo-2"] == "int(times) > 5 is false: times = 3"
    _, outcomes, _ = walk(plan, {"maybe": 6})
    assert "middle/inner/condition-1/echo-2" in states(outcomes)


@pytest.mark.parametrize(
    ("states", "told"),
    [
        (("succeeded", "skipped"), "SUCCEEDED"),
        (("skipped", "skipped"), "SKIPPED"),
        (("cancelled", "succeeded"), "CANCELED"),
        (("failed", "cancelled"), "FAILED"),
        (("succeeded", "upstream_failed"), "FAILED"),
    ],
)
def test_an_exit_handler_is_told_in_kfp_s_words(plan_of_file, outcome, states, told):
    plan = plan_of_file("exit_handler")
    inner = [step for step in plan.steps if step != "tell"]
    outcomes = dict.fromkeys(inner, outcome(states[1])) | {inner[0]: outcome(states[0])}
    assert plan.resolve("tell", {"number": 1}, outcomes, {}).parameters["status"]["state"] == told


@pytest.mark.timeout(60)
def test_a_step_behind_forty_pairs_of_sub_dags_is_decided_at_all(ir):
    """Each pair waits for the one before: to ask each sub-DAG anew for each that waits for it would be 2**40 questions."""
    document = ir("nested")
    inner = document["root"]["dag"]["tasks"]["inner"]
    tasks = {
        f"{side}{n}": {
            "componentRef": inner["componentRef"],
            "inputs": {"parameters": {"label": {"runtimeValue": {"constant": "x"}}}},
            "dependentTasks": [f"a{n - 1}", f"b{n - 1}"] if n else [],
        }
        for n in range(40)
        for side in "ab"
    }
    document["root"] = {"dag": {"tasks": tasks}}
    _, outcomes, reasons = walk(plan_of(document), failing=["a0/echo"])
    assert outcomes["b39/echo"]["state"] == "upstream_failed"
    assert reasons["b1/echo"] == "a0 failed"
