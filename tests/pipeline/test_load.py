"""What must be refused, with the place and the remedy, before anything runs."""

import json

import pytest
import yaml

from fleetml.errors import InvalidPipeline
from fleetml.pipeline import load, plan_of
from fleetml.pipeline.model import Collected, StepOutput


def test_retries_of_a_sub_dag_are_those_of_the_tasks_in_it_that_state_none(ir):
    document = ir("nested")
    document["root"]["dag"]["tasks"]["middle"]["retryPolicy"] = {"maxRetryCount": 2}
    inner = document["components"]["comp-middle"]["dag"]["tasks"]["inner"]["componentRef"]["name"]
    document["components"][inner]["dag"]["tasks"]["echo"]["retryPolicy"] = {"maxRetryCount": 5}
    steps = plan_of(document).steps
    assert {name: step.retry.count for name, step in steps.items() if name.startswith("middle/")} == {
        "middle/inner/echo": 5,
        "middle/inner/condition-1/echo-2": 2,
        **{name: 2 for name in steps if name.startswith("middle/") and not name.startswith("middle/inner/")},
    }
    assert steps["echo-2"].retry.count == 0


def test_a_list_collected_of_a_task_in_no_loop_holds_what_that_one_gave(ir):
    document = ir("branches")
    document["root"]["outputDefinitions"] = {"parameters": {"all": {"parameterType": "LIST"}}}
    output = {"valueFromParameter": {"producerSubtask": "echo-4", "outputParameterKey": "out"}}
    document["root"]["dag"]["outputs"] = {"parameters": {"all": output}}
    assert plan_of(document).outputs["all"] == Collected((StepOutput("echo-4", "out"),))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "the IR is empty"),
        ("  \n", "the IR is empty"),
        ("# only a comment\n", "must be one mapping"),
        ("- a\n- b\n", "must be one mapping"),
        ("{broken", "neither YAML nor JSON"),
        ("a: [1\n", "neither YAML nor JSON"),
        ("\x00\x01", "neither YAML nor JSON"),
        ("a: .nan\n", "must hold JSON values only"),
        ("a: 2013-08-01\n", "must hold JSON values only: .*date"),
        ("a: 1\n---\nb: 1\n", "one document with `platforms` may follow"),
        ("a: 1\n", "schemaVersion must be 2.1.0, got None"),
    ],
)
def test_a_file_that_is_no_ir(tmp_path, content, message):
    path = tmp_path / "pipeline.yaml"
    path.write_text(content)
    with pytest.raises(InvalidPipeline, match=message) as caught:
        load(path)
    assert str(caught.value).startswith(f"{path}: ")


def test_a_missing_file(tmp_path):
    with pytest.raises(InvalidPipeline, match=r"cannot be read: No such file.*fleetml compile"):
        load(tmp_path / "nope.yaml")


def test_json_and_yaml_give_the_same_plan_and_the_cache_spares_the_yaml(ir, tmp_path, monkeypatch):
    document, cache = ir("types"), tmp_path / "cache"
    (tmp_path / "p.json").write_text(json.dumps(document))
    path = tmp_path / "p.yaml"
    path.write_text(yaml.safe_dump(document))
    first = load(path, cache)
    assert load(tmp_path / "p.json") == first
    (kept,) = cache.iterdir()
    with monkeypatch.context() as patch:
        patch.setattr(yaml, "load_all", lambda *a, **k: pytest.fail("parsed again"))
        assert load(path, cache) == first
    kept.write_text("{damaged")
    assert load(path, cache) == first
    path.write_text(path.read_text().replace("name: types", "name: other"))
    assert load(path, cache).name == "other"


def test_a_cache_that_cannot_be_written_does_no_harm(ir, tmp_path):
    path = tmp_path / "p.yaml"
    path.write_text(yaml.safe_dump(ir("types")))
    (tmp_path / "file").write_text("")
    assert load(path, tmp_path / "file" / "cache").name == "types"
