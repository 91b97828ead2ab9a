"""What must be refused, with the place and the remedy, before anything runs."""

from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetml.errors import FleetMLError, InvalidPipeline, UnsupportedConstruct
from fleetml.pipeline import plan_of

PIPELINES = Path(__file__).parents[1] / "pipelines"
ROOT = "root.dag.tasks"


def broken(document, path, value):
    """Set (or, for None, delete) the value at a dotted path."""
    *parents, last = path.split("/")
    for key in parents:
        document = document[key]
    if value is None:
        del document[last]
    else:
        document[last] = value


@pytest.mark.parametrize(
    ("name", "path", "value", "message"),
    [
        ("strangers", "schemaVersion", "2.0.0", "schemaVersion must be 2.1.0, got '2.0.0'"),
        ("strangers", "pipelineInfo/name", "a b", "pipelineInfo.name must match"),
        ("strangers", "root/dag", None, "root must hold a dag"),
        ("strangers", "root/dag/tasks", {}, "root.dag: a DAG must hold at least one task"),
        (
            "strangers",
            "root/dag/tasks/add/componentRef/name",
            "comp-ad",
            "no component 'comp-ad'; did you mean 'comp-add'",
        ),
        (
            "strangers",
            "components/comp-add/executorLabel",
            "exec-x",
            r"components.comp-add.executorLabel: there is no executor",
        ),
        ("strangers", "components/comp-add/executorLabel", None, "must hold either a dag or an executorLabel"),
        (
            "strangers",
            "deploymentSpec/executors/exec-add/container/image",
            None,
            "exec-add: an executor must hold a container",
        ),
        ("strangers", "root/dag/tasks/save/dependentTasks", ["nope"], f"{ROOT}.save: there is no task 'nope'"),
        ("strangers", "root/dag/tasks/add/dependentTasks", ["save"], "add, save wait for each other"),
        (
            "strangers",
            "root/dag/tasks/save/inputs/parameters/value/taskOutputParameter/outputParameterKey",
            "Out",
            "no output parameter of 'add' 'Out'; did you mean 'Output'",
        ),
        (
            "strangers",
            "root/dag/tasks/save/inputs/parameters/value/taskOutputParameter/producerTask",
            "ad",
            "no task 'ad'",
        ),
        (
            "strangers",
            "root/dag/tasks/add/inputs/parameters/a/componentInputParameter",
            "b",
            "no input parameter of the DAG",
        ),
        (
            "strangers",
            "root/dag/tasks/add/inputs/parameters/c",
            {"runtimeValue": {"constant": 1}},
            "no declared input parameter 'c'",
        ),
        (
            "strangers",
            "root/dag/tasks/add/inputs/parameters/b",
            {"runtimeValue": {"constant": "x"}},
            "b must be an integer, got 'x'",
        ),
        ("strangers", "root/dag/tasks/add/inputs/parameters/b", {}, "a parameter needs a source"),
        ("strangers", "root/dag/tasks/add/inputs/parameters/a", None, "the required parameter 'a' is not given"),
        (
            "strangers",
            "root/inputDefinitions/parameters/a",
            {"parameterType": "STRING"},
            "a must be NUMBER_INTEGER, got STRING",
        ),
        ("strangers", "root/inputDefinitions/parameters/a/defaultValue", "x", "its default must be"),
        ("strangers", "root/inputDefinitions/parameters/a/parameterType", None, "parameterType must be one of"),
        (
            "strangers",
            "root/outputDefinitions/parameters/Output/parameterType",
            "STRING",
            "Output must be STRING, got NUMBER_INTEGER",
        ),
        (
            "strangers",
            "root/dag/outputs/parameters/Output/valueFromParameter/producerSubtask",
            "nope",
            "no task 'nope'",
        ),
        ("strangers", "root/dag/outputs/parameters/Output", None, "no output parameter of the DAG 'Output'"),
        ("strangers", "root/dag/tasks/add/triggerPolicy", {"strategy": "SOME"}, "strategy must be one of"),
        (
            "strangers",
            "root/dag/tasks/add/triggerPolicy",
            {"condition": "x == 1"},
            "triggerPolicy.condition: condition x == 1",
        ),
        (
            "strangers",
            "root/dag/tasks/add/triggerPolicy",
            {"condition": "inputs.parameter_values['z'] == 1"},
            "no input parameter of the task 'z'",
        ),
        ("strangers", "root/dag/tasks/add/retryPolicy", {"maxRetryCount": -1}, "maxRetryCount must be a whole number"),
        (
            "strangers",
            "root/dag/tasks/add/retryPolicy",
            {"maxRetryCount": 1, "backoffDuration": "1m"},
            "must be seconds",
        ),
        ("strangers", "root/dag/tasks/add/cachingOptions/enableCache", "yes", "enableCache must be true or false"),
        ("strangers", "root/dag/tasks/add/dependentTasks", "save", "dependentTasks must be a list"),
        ("strangers", "root/dag/tasks/add/dependentTasks", [1], r"dependentTasks\[0\] must be a text"),
        ("strangers", "root/dag/tasks/..", {}, "a name must match"),
        (
            "types",
            "root/dag/tasks/use/inputs/artifacts/model/taskOutputArtifact/outputArtifactKey",
            "data",
            "system.Model, got system.Dataset",
        ),
        ("types", "root/dag/tasks/use/inputs/artifacts/model", None, "the required artifact 'model' is not given"),
        ("types", "root/dag/tasks/use/inputs/artifacts/model", {}, "an artifact needs a source"),
        (
            "types",
            "root/dag/tasks/use/inputs/artifacts/other",
            {"componentInputArtifact": "x"},
            "no input artifact of the DAG",
        ),
        (
            "types",
            "root/dag/tasks/make/inputs/parameters/pipelinechannel--text",
            None,
            r"refers to nothing; the task gets",
        ),
        ("types", "root/dag/tasks/make/inputs/parameters/pipelinechannel--cores", None, "refers to nothing"),
        (
            "types",
            "deploymentSpec/executors/exec-use/container/args",
            ["{{$.inputs.parameters['q']}}"],
            "exec-use: the placeholder",
        ),
        (
            "branches",
            "components/comp-condition-branches-1/dag/tasks/condition-2/triggerPolicy/condition",
            "1 == 'x'",
            "gets a number and a text",
        ),
    ],
)
def test_a_broken_document_is_refused_with_its_place(ir, name, path, value, message):
    document = ir(name)
    broken(document, path, value)
    with pytest.raises(InvalidPipeline, match=message) as caught:
        plan_of(document)
    assert not isinstance(caught.value, UnsupportedConstruct)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("root/dag/tasks/add/surprise", 1, "add: the key 'surprise' is unknown"),
        ("root/dag/tasks/add/dependentTask", [], "did you mean 'dependentTasks'"),
        ("root/dag/tasks/add/inputs/parameters/a/parameterExpressionSelector", "x.y", "the selector 'x.y' is not run"),
        ("components/comp-save/outputDefinitions/artifacts/data/isArtifactList", True, "lists of artifacts"),
        ("components/comp-add/inputDefinitions/parameters/a/parameterType", "TASK_CONFIG", "task configuration"),
        ("components/comp-add/singlePlatformSpecs", [], "platform settings"),
        ("deploymentSpec/executors/exec-add/container/lifecycle", {}, "lifecycle"),
        ("platforms", {"google_cloud": {}}, "platforms: the key 'google_cloud' is unknown"),
        (
            "root/inputDefinitions/artifacts",
            {"x": {"artifactType": {"schemaTitle": "system.Model"}, "isArtifactList": True}},
            "a list of artifacts as input of a whole pipeline",
        ),
    ],
)
def test_what_is_valid_but_not_run_is_refused_by_name(ir, path, value, message):
    document = ir("strangers")
    broken(document, path, value)
    with pytest.raises(UnsupportedConstruct, match=message):
        plan_of(document)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"artifactUri": {}}, "artifactUri must hold a constant or a runtimeParameter"),
        ({"artifactUri": {"runtimeParameter": "urj"}}, "no input parameter 'urj'; did you mean 'uri'"),
        ({"metadata": {"kind": "{{$.inputs.parameters['nope']}}"}}, "nope"),
    ],
)
def test_an_importer_that_makes_no_sense_is_refused(ir, change, message):
    document = ir("importer")
    document["deploymentSpec"]["executors"]["exec-importer"]["importer"].update(change)
    with pytest.raises(InvalidPipeline, match=message):
        plan_of(document)


def test_a_component_that_holds_itself_is_refused(ir):
    document = ir("nested")
    tasks = document["components"]["comp-middle"]["dag"]["tasks"]
    tasks["again"] = {
        "componentRef": {"name": "comp-middle"},
        "inputs": {"parameters": {"word": {"runtimeValue": {"constant": "x"}}}},
    }
    with pytest.raises(InvalidPipeline, match="comp-middle holds itself"):
        plan_of(document)


def test_a_task_that_is_named_like_the_import_of_a_pipelines_artifact_is_refused(ir):
    document = ir("given")
    document["root"]["dag"]["tasks"]["import-data"] = document["root"]["dag"]["tasks"]["read"]
    with pytest.raises(UnsupportedConstruct, match="a task named 'import-data' is not run"):
        plan_of(document)


@pytest.mark.parametrize(
    ("name", "message"),
    [("task_config", "task configuration")],
)
def test_constructs_of_the_dsl_that_are_not_run_yet(ir, name, message):
    with pytest.raises(UnsupportedConstruct, match=message):
        plan_of(ir(name))


def paths(value, prefix=()):
    if isinstance(value, dict):
        for key, inner in value.items():
            yield (*prefix, key)
            yield from paths(inner, (*prefix, key))


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_whatever_is_deleted_or_replaced_ends_in_a_plan_or_a_message(data):
    """No broken document may end in anything but a FleetMLError."""
    document = yaml.safe_load(
        (PIPELINES / f"{data.draw(st.sampled_from(['types', 'nested', 'branches']))}.yaml").read_text()
    )
    path = data.draw(st.sampled_from(sorted(paths(document))))
    inner = document
    for key in path[:-1]:
        inner = inner[key]
    if data.draw(st.booleans()):
        del inner[path[-1]]
    else:
        inner[path[-1]] = data.draw(st.sampled_from([None, 1, "x", [], {}, True, ["x"], {"x": {}}]))
    try:
        plan_of(document)
    except FleetMLError as error:
        assert str(error)  # noqa: PT017 - either outcome is right
