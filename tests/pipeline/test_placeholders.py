import json
from dataclasses import replace

import pytest

from fleetml.errors import InvalidPipeline
from fleetml.pipeline.model import Container
from fleetml.pipeline.placeholders import check_container, fill, render_command, render_env, run_specific

INPUT = {
    "inputs": {
        "parameterValues": {"text": "a b", "n": 5, "d": {"k": [1, 2.5]}, "flag": True},
        "artifacts": {
            "data": {"artifacts": [{"name": "data", "uri": "/results/1/data", "metadata": {"rows": 7}}]},
            "none": {"artifacts": []},
            "all": {"artifacts": [{"uri": "/results/1/data"}], "isList": True},
        },
    },
    "outputs": {
        "parameters": {"best": {"outputFile": "/out/best"}},
        "artifacts": {"model": {"artifacts": [{"name": "model", "uri": "file:///out/model", "metadata": {}}]}},
        "outputFile": "/out/executor_output.json",
    },
}
NAMES = {"pipeline_job_name": "run-1", "pipeline_task_name": "train", "pipeline_root": "/results"}


def rendered(*command):
    return render_command(Container("image", command=command), INPUT, NAMES)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("plain", "plain"),
        ("{{$.inputs.parameters['text']}}", "a b"),
        ("--n={{$.inputs.parameters['n']}},{{$.inputs.parameters['flag']}}", "--n=5,true"),
        ("{{$.inputs.parameters['d']}}", '{"k":[1,2.5]}'),
        ("{{$.inputs.artifacts['data'].path}}", "/results/1/data"),
        ("{{$.inputs.artifacts['data'].uri}}", "/results/1/data"),
        ("{{$.inputs.artifacts['data']}}", "/results/1/data"),
        ("{{$.inputs.artifacts['all']}}", '[{"uri":"/results/1/data"}]'),
        ("{{$.inputs.artifacts['data'].name}}", "data"),
        ("{{$.inputs.artifacts['data'].metadata['rows']}}", "7"),
        ("{{$.inputs.artifacts['data'].metadata}}", '{"rows":7}'),
        ("{{$.outputs.artifacts['model'].path}}", "/out/model"),
        ("{{$.outputs.artifacts['model'].uri}}", "file:///out/model"),
        ("{{$.outputs.parameters['best'].output_file}}", "/out/best"),
        ("{{$.outputs.output_file}}", "/out/executor_output.json"),
        ("{{$.pipeline_job_name}}/{{$.pipeline_task_name}}", "run-1/train"),
        ("{{$.pipeline_root}}", "/results"),
        ("{{ jinja }} {{$x}} ${A}", "{{ jinja }} {{$x}} ${A}"),
    ],
)
def test_each_placeholder(text, value):
    assert rendered(text) == [value]


def test_the_executor_input_arrives_whole():
    assert json.loads(rendered("{{$}}")[0]) == INPUT


def test_a_value_that_looks_like_a_placeholder_is_not_rendered_again():
    given = {**INPUT, "inputs": {"parameterValues": {"text": "{{$.pipeline_job_name}}"}}}
    assert render_command(Container("image", args=("{{$.inputs.parameters['text']}}",)), given, NAMES) == [
        "{{$.pipeline_job_name}}"
    ]


def structure(value):
    return json.dumps(value)


@pytest.mark.parametrize(
    ("node", "texts"),
    [
        ({"Concat": ["--n=", "{{$.inputs.parameters['n']}}"]}, ["--n=5"]),
        ({"IfPresent": {"InputName": "n", "Then": ["--n", "{{$.inputs.parameters['n']}}"]}}, ["--n", "5"]),
        ({"IfPresent": {"InputName": "absent", "Then": ["--a"], "Else": ["--none", "x"]}}, ["--none", "x"]),
        ({"IfPresent": {"InputName": "absent", "Then": "--a"}}, []),
        ({"IfPresent": {"InputName": "data", "Then": "--data"}}, ["--data"]),
        ({"IfPresent": {"InputName": "none", "Then": "--none"}}, []),
        ({"Concat": ["a", {"IfPresent": {"InputName": "n", "Then": {"Concat": ["b", "c"]}}}, "d"]}, ["abcd"]),
    ],
)
def test_structures_in_a_command(node, texts):
    assert rendered("before", structure(node), "after") == ["before", *texts, "after"]


def test_env_values_are_rendered():
    container = Container("image", env={"RUN": "{{$.pipeline_job_name}}", "LEVEL": "debug"})
    assert render_env(container, INPUT, NAMES) == {"RUN": "run-1", "LEVEL": "debug"}


def test_an_optional_input_without_a_value_is_named():
    with pytest.raises(InvalidPipeline, match=r"absent.*has no value"):
        rendered("{{$.inputs.parameters['absent']}}")
    with pytest.raises(InvalidPipeline, match=r"none.*has no value"):
        rendered("{{$.inputs.artifacts['none'].path}}")


def test_constants_are_filled_and_a_lone_placeholder_keeps_its_type():
    value = {"lone": "{{$.inputs.parameters['n']}}", "mixed": ["n={{$.inputs.parameters['n']}}"], "number": 1}
    assert fill(value, {"n": 5}, NAMES) == {"lone": 5, "mixed": ["n=5"], "number": 1}


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("{{$.inputs.parameters['nope']}}", InvalidPipeline),
        ("{{$.outputs.parameters['nope'].output_file}}", InvalidPipeline),
        ("{{$.json_escape[1]}}", InvalidPipeline),
        ("{{$.workspace_paht}}", InvalidPipeline),
        ('{"IfPresent": {"InputName": "nope", "Then": "x"}}', InvalidPipeline),
    ],
)
def test_a_placeholder_that_refers_to_nothing_is_refused(text, error):
    declared = {(side, what): {} for side in ("inputs", "outputs") for what in ("parameters", "artifacts")}
    with pytest.raises(error):
        check_container(Container("image", args=(text,)), declared)


def test_an_unknown_structure_is_refused():
    with pytest.raises(InvalidPipeline, match="unknown structure"):
        rendered('{"Concat": [{"Other": 1}]}')


def test_only_what_differs_from_run_to_run_makes_a_step_run_specific(plan_of_file):
    step = plan_of_file("strangers").steps["add"]
    assert run_specific(step) == []
    container = Container(
        "i",
        args=("{{$.pipeline_task_name}}", '{"Concat": ["{{$.pipeline_job_name}}"]}'),
        env={"A": "{{$.pipeline_root}}"},
    )
    assert run_specific(replace(step, container=container)) == ["pipeline_job_name", "pipeline_root"]
