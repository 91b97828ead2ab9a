import dataclasses

import pytest

from fleetml.errors import InvalidParameter, InvalidPipeline
from fleetml.pipeline import plan_of
from fleetml.pipeline.model import Resources, Retry


def test_defaults_are_filled_and_integers_are_integers(plan_of_file):
    bound = plan_of_file("types").bind({"count": 7.0})
    assert bound == {
        "text": "hello",
        "count": 7,
        "ratio": 1.5,
        "flag": True,
        "items": [1, 2.5, "x"],
        "settings": {"depth": 3, "rates": [0.1, 2]},
        "cores": "250m",
        "needed": 0,
    }
    assert type(bound["count"]) is int
    assert "nothing" not in bound  # optional, no default


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"cuont": 1}, "has no parameter 'cuont'; did you mean 'count'"),
        ({"zzz": 1}, "it has cores, count"),
        ({"count": "1"}, "parameter 'count' must be an integer, got '1'"),
        ({"flag": 1}, "parameter 'flag' must be true or false"),
    ],
)
def test_a_bad_parameter_is_named(plan_of_file, given, message):
    with pytest.raises(InvalidParameter, match=message):
        plan_of_file("types").bind(given)


def test_a_required_parameter_must_be_given(ir):
    document = ir("strangers")
    document["root"]["inputDefinitions"]["parameters"]["a"] = {"parameterType": "NUMBER_INTEGER"}
    plan = plan_of(document)
    with pytest.raises(InvalidParameter, match=r"'a' \(an integer\) has no default.*-p a="):
        plan.bind({"a": None})
    assert plan.bind({"a": 4}) == {"a": 4}


def test_literals_are_the_only_values_allowed(ir):
    document = ir("strangers")
    document["root"]["inputDefinitions"]["parameters"]["a"]["literals"] = [1.0, 2.0]
    plan = plan_of(document)
    assert plan.inputs["a"].literals == (1, 2)
    with pytest.raises(InvalidParameter, match="must be one of 1, 2, got 3"):
        plan.bind({"a": 3})


def test_texts_of_the_command_line_are_read_by_type(plan_of_file):
    plan = plan_of_file("types")
    assert plan.parse({"count": "3", "text": "3", "items": "[1]", "flag": "false"}) == {
        "count": 3,
        "text": "3",
        "items": [1],
        "flag": False,
    }
    with pytest.raises(InvalidParameter, match="parameter 'count' must be an integer, got 'three'"):
        plan.parse({"count": "three"})
    with pytest.raises(InvalidParameter, match="did you mean"):
        plan.parse({"conut": "3"})


def test_what_an_engine_renders(plan_of_file):
    plan = plan_of_file("types")
    assert (plan.name, plan.label, plan.description) == ("types", "All types", "Every type of parameter and artifact.")
    assert plan.inputs["count"].description == "How often."
    make, use = plan.steps.values()
    assert (make.label, make.task, make.component, make.container.image) == ("Make them", "make", "make", "fleetml/ml")
    assert make.retry == Retry(3, 30.0, 3.0, 120.0)
    assert use.retry == Retry()
    assert (make.cacheable, use.cacheable) == (True, False)
    assert make.container.env == {"LEVEL": "debug"}
    assert {definition.type for definition in make.output_artifacts.values()} == {
        f"system.{name}"
        for name in (
            "Artifact",
            "ClassificationMetrics",
            "Dataset",
            "HTML",
            "Markdown",
            "Metrics",
            "Model",
            "SlicedClassificationMetrics",
        )
    }
    assert {n: p.type for n, p in make.output_parameters.items()} == {
        "out": "STRING",
        "number": "NUMBER_INTEGER",
        "share": "NUMBER_DOUBLE",
        "truth": "BOOLEAN",
        "series": "LIST",
        "table": "STRUCT",
    }


def test_a_placeholder_of_the_run_makes_a_step_uncacheable(plan_of_file):
    steps = plan_of_file("branches").steps
    assert not steps["condition-branches-1/condition-4/echo-3"].cacheable
    assert steps["condition-branches-1/condition-3/echo-2"].cacheable


def test_inputs_and_resources_are_resolved(ir):
    document = ir("types")
    asked = {"type": "nvidia.com/gpu", "resourceType": "nvidia.com/gpu", "count": "1", "resourceCount": "1"}
    document["deploymentSpec"]["executors"]["exec-make"]["container"]["resources"]["accelerator"] = asked
    plan = plan_of(document)
    inputs = plan.resolve("make", plan.bind({"cores": "2"}), {}, {})
    assert inputs.parameters["text"] == "hello x5"
    assert inputs.parameters["prefix"] == "pre"
    assert "suffix" not in inputs.parameters
    assert inputs.resources == Resources("2", "1", "", "2Gi", "nvidia.com/gpu", "1")
    assert plan.resolve("make", plan.bind({"nothing": "s"}), {}, {}).parameters["suffix"] == "s"


def test_names_of_the_run_enter_constants(plan_of_file):
    plan = plan_of_file("branches")
    inputs = plan.resolve("condition-branches-1/condition-4/echo-3", plan.bind({}), {}, {"pipeline_job_name": "run-7"})
    assert inputs.parameters == {"text": "run-7"}


def test_artifacts_arrive_as_they_were_left(plan_of_file, outcome):
    plan = plan_of_file("types")
    entry = {"name": "model", "type": "system.Model", "uri": "/r/model", "digest": "d", "metadata": {"family": "mlp"}}
    made = outcome(artifacts={"model": [entry], "data": [{"name": "data", "uri": "/r/data"}]})
    inputs = plan.resolve("use", plan.bind({}), {"make": made}, {})
    assert inputs.artifacts == {"model": [entry], "anything": [{"name": "data", "uri": "/r/data"}]}


def test_a_producer_that_left_nothing_is_named(plan_of_file, outcome):
    plan = plan_of_file("types")
    with pytest.raises(InvalidPipeline, match="step 'use': input 'anything' has no artifact"):
        plan.resolve("use", plan.bind({}), {"make": outcome()}, {})
    strangers = plan_of_file("strangers")
    with pytest.raises(InvalidPipeline, match="step 'save': input 'value' has no value"):
        strangers.resolve("save", {"a": 1}, {"add": outcome()}, {})
    with pytest.raises(InvalidPipeline, match="step 'save': input 'value' must be an integer, got 'x'"):
        strangers.resolve("save", {"a": 1}, {"add": outcome(Output="x")}, {})


def test_a_literal_of_a_component_is_checked_in_the_run(ir, outcome):
    document = ir("strangers")
    document["components"]["comp-save"]["inputDefinitions"]["parameters"]["value"]["literals"] = [1.0]
    with pytest.raises(InvalidPipeline, match=r"must be one of \[1\], got 2"):
        plan_of(document).resolve("save", {"a": 1}, {"add": outcome(Output=2)}, {})


def test_an_entry_of_a_struct_can_be_picked(ir, outcome):
    document = ir("strangers")
    component = document["components"]["comp-add"]
    component["outputDefinitions"]["parameters"]["Output"]["parameterType"] = "STRUCT"
    document["root"]["outputDefinitions"]["parameters"]["Output"]["parameterType"] = "STRUCT"
    value = document["root"]["dag"]["tasks"]["save"]["inputs"]["parameters"]["value"]
    value["parameterExpressionSelector"] = 'parseJson(string_value)["k"]'
    plan = plan_of(document)
    assert plan.resolve("save", {"a": 1}, {"add": outcome(Output={"k": 4.0})}, {}).parameters == {"value": 4}
    with pytest.raises(InvalidPipeline, match="the entry 'k' is picked from"):
        plan.resolve("save", {"a": 1}, {"add": outcome(Output={})}, {})
    document["components"]["comp-save"]["inputDefinitions"]["parameters"]["value"]["parameterType"] = "STRING"
    resolved = plan_of(document).resolve("save", {"a": 1}, {"add": outcome(Output={"k": ["x", "y"]})}, {})
    assert resolved.parameters == {"value": '["x","y"]'}


def test_a_plan_is_frozen_and_its_digest_is_the_documents(ir):
    plan = plan_of(ir("types"))
    assert plan.digest == plan_of(ir("types")).digest != plan_of(ir("branches")).digest
    with pytest.raises(dataclasses.FrozenInstanceError):
        plan.name = "other"
