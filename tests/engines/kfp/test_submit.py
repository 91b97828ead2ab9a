"""Submission, against a local server that checks every request: no KFP cluster can be had here (see contract.py)."""

import importlib.util
import json
import socket
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest
import yaml

pytest.importorskip("kfp")

from fleetml.cli import main
from fleetml.engines.kfp import Schedule, submit
from fleetml.errors import (
    ConfigurationError,
    FleetMLError,
    InvalidParameter,
    InvalidPipeline,
    Unavailable,
    UnsupportedConstruct,
)

PIPELINES = Path(__file__).parents[2] / "pipelines"
DIGEST = "sha256:" + "a" * 64
TABLE = """
[images."fleetml/ml"]
venv = ".venv"
locks = []
registry = "{registry}"
digest = "{digest}"
[aliases]
"python:3.1?" = "fleetml/ml"
"""


def _contract_module():
    spec = importlib.util.spec_from_file_location("kfp_contract", Path(__file__).with_name("contract.py"))
    module = importlib.util.module_from_spec(spec)
    sys.modules["kfp_contract"] = module
    spec.loader.exec_module(module)
    return module


Contract = _contract_module().Contract


@pytest.fixture
def server():
    with Contract() as running:
        yield running


def project(folder, registry="registry.example/fleetml-ml", digest=DIGEST):
    (folder / "images").mkdir(exist_ok=True)
    (folder / "images" / "images.toml").write_text(TABLE.format(registry=registry, digest=digest))
    return folder


@pytest.mark.parametrize(
    "name", ["types", "branches", "nested", "cleanup", "strangers", "loop", "exit_handler", "importer"]
)
def test_the_ir_is_accepted_and_only_its_images_differ(server, tmp_path, name):
    given = {"uri": "s3://bucket/data"} if name == "importer" else {}
    made = submit(PIPELINES / f"{name}.yaml", given, server.host, project=project(tmp_path))
    (version,) = server.versions.values()
    committed = yaml.safe_load((PIPELINES / f"{name}.yaml").read_text())
    for executor in committed["deploymentSpec"]["executors"].values():
        executor.get("container", {})["image"] = f"registry.example/fleetml-ml@{DIGEST}"
    assert version["pipeline_spec"] == committed
    assert version["pipeline_version_id"] == made.version_id
    assert made.url == f"{server.host}/#/runs/details/{made.run_id}"


def test_what_steps_ask_of_the_cluster_is_a_second_document_with_its_images_by_digest(server, tmp_path):
    spec = yaml.safe_load((PIPELINES / "strangers.yaml").read_text())
    init = {"name": "first", "image": "fleetml/ml"}
    asked = {"exec-add": {"nodeSelector": {"labels": {"disk": "ssd"}}, "initContainers": [init]}}
    platforms = {"platforms": {"kubernetes": {"deploymentSpec": {"executors": asked}}}}
    spec["deploymentSpec"]["executors"]["exec-make"] = {"container": {"image": "argostub/createpvc"}}
    path = tmp_path / "pipeline.yaml"
    path.write_text(yaml.safe_dump_all([spec, platforms]))
    submit(path, {}, server.host, project=project(tmp_path))
    (version,) = server.versions.values()
    executors = version["pipeline_spec"]["pipeline_spec"]["deploymentSpec"]["executors"]
    assert executors["exec-make"]["container"]["image"] == "argostub/createpvc"
    init["image"] = executors["exec-add"]["container"]["image"]
    assert init["image"].endswith(DIGEST)
    assert version["pipeline_spec"]["platform_spec"] == platforms


def test_a_run_gets_its_typed_parameters_defaults_included(server, tmp_path):
    given = {"count": 7, "nothing": "s", "settings": {"depth": 1, "rates": []}}
    made = submit(PIPELINES / "types.yaml", given, server.host, project=project(tmp_path), experiment="mine")
    run = server.runs[made.run_id]
    assert run["runtime_config"]["parameters"] == {
        "text": "hello",
        "count": 7,
        "ratio": 1.5,
        "flag": True,
        "items": [1, 2.5, "x"],
        "settings": {"depth": 1, "rates": []},
        "nothing": "s",
        "cores": "250m",
        "needed": 0,
    }
    assert server.experiments[run["experiment_id"]]["display_name"] == "mine"
    assert run["pipeline_version_reference"] == {
        "pipeline_id": made.pipeline_id,
        "pipeline_version_id": made.version_id,
    }


def test_submitting_the_same_again_uploads_nothing_and_a_change_makes_a_new_version(server, tmp_path):
    first = submit(PIPELINES / "cleanup.yaml", {}, server.host, project=project(tmp_path))
    again = submit(PIPELINES / "cleanup.yaml", {}, server.host, project=project(tmp_path))
    assert (again.pipeline_id, again.version_id) == (first.pipeline_id, first.version_id)
    assert again.run_id != first.run_id
    rebuilt = project(tmp_path, digest="sha256:" + "b" * 64)
    other = submit(PIPELINES / "cleanup.yaml", {}, server.host, project=rebuilt)
    assert other.pipeline_id == first.pipeline_id
    assert other.version_id != first.version_id
    assert (len(server.pipelines), len(server.experiments), len(server.versions)) == (1, 1, 2)


def test_a_schedule_recurs_with_its_due_time_and_replaces_the_earlier_one(server, tmp_path):
    schedule = Schedule("0 3 * * 1", interval_end="text")
    for _ in range(2):
        made = submit(
            PIPELINES / "types.yaml", {}, server.host, project=project(tmp_path), schedule=schedule, run=False
        )
    assert server.runs == {}
    (recurring,) = server.recurring_runs.values()
    assert recurring["recurring_run_id"] == made.recurring_run_id
    assert recurring["trigger"] == {"cron_schedule": {"cron": "0 0 3 * * 1"}}
    assert recurring["runtime_config"]["parameters"]["text"] == "[[ScheduledTime.2006-01-02T15:04:05Z]]"
    assert recurring["runtime_config"]["parameters"]["count"] == 5
    assert (recurring["mode"], recurring["max_concurrency"]) == ("ENABLE", "1")
    assert made.url.endswith(f"/#/recurringrun/details/{made.recurring_run_id}")


def test_a_schedule_without_a_data_interval_gets_the_parameters_as_they_are(server, tmp_path):
    submit(
        PIPELINES / "types.yaml",
        {},
        server.host,
        project=project(tmp_path),
        schedule=Schedule("@ @ @ @ @".replace("@", "*")),
    )
    (recurring,) = server.recurring_runs.values()
    assert recurring["runtime_config"]["parameters"]["text"] == "hello"
    assert len(server.runs) == 1


@pytest.mark.parametrize(
    ("schedule", "message"),
    [
        (Schedule("0 0 3 * * 1"), "cron of five fields"),
        (Schedule("0 3 * * 1", "txt"), "must name a text parameter of 'types', got 'txt'"),
        (Schedule("0 3 * * 1", "count"), "must name a text parameter"),
    ],
)
def test_a_schedule_that_does_not_fit_is_refused(server, tmp_path, schedule, message):
    with pytest.raises(ConfigurationError, match=message):
        submit(PIPELINES / "types.yaml", {}, server.host, project=project(tmp_path), schedule=schedule)
    assert server.requests == []


@pytest.mark.parametrize(
    ("registry", "digest", "overrides", "message"),
    [
        ("", "", {}, "'fleetml/ml' has no registry and digest"),
        ("registry.example/ml", "", {}, "has no registry and digest"),
        ("registry.example/ml", "latest", {}, "must be named by its digest, not by a tag"),
        (
            "",
            "",
            {"fleetml/ml": "registry.example/ml:1.0"},
            "the override of image 'fleetml/ml' must be named by its digest",
        ),
        (
            "",
            "",
            {"fleetml/other": f"x@{DIGEST}"},
            "'fleetml/other' names no image of this pipeline; it uses fleetml/ml",
        ),
    ],
)
def test_images_known_by_a_tag_only_are_refused_before_anything_is_sent(
    server, tmp_path, registry, digest, overrides, message
):
    with pytest.raises(ConfigurationError, match=message):
        submit(
            PIPELINES / "types.yaml",
            {},
            server.host,
            project=project(tmp_path, registry, digest),
            image_overrides=overrides,
        )
    assert server.requests == []


def test_an_override_and_an_image_by_digest_are_taken(server, tmp_path, ir_file):
    def change(document):
        document["deploymentSpec"]["executors"]["exec-save"]["container"]["image"] = f"python@{DIGEST}"

    path = ir_file("strangers", change)
    override = f"mirror.example/python@{DIGEST}"
    submit(path, {}, server.host, project=project(tmp_path, "", ""), image_overrides={"python:3.11": override})
    (version,) = server.versions.values()
    executors = version["pipeline_spec"]["deploymentSpec"]["executors"]
    assert executors["exec-add"]["container"]["image"] == override
    assert executors["exec-save"]["container"]["image"] == f"python@{DIGEST}"


def test_an_unknown_image_is_refused(server, tmp_path, ir_file):
    def change(document):
        document["deploymentSpec"]["executors"]["exec-save"]["container"]["image"] = "stranger/image:1"

    with pytest.raises(ConfigurationError, match="stranger/image:1"):
        submit(ir_file("strangers", change), {}, server.host, project=project(tmp_path))


@pytest.fixture
def ir_file(tmp_path):
    def make(name, change):
        document = yaml.safe_load((PIPELINES / f"{name}.yaml").read_text())
        change(document)
        path = tmp_path / "changed.yaml"
        path.write_text(yaml.safe_dump(document))
        return path

    return make


def test_a_bad_parameter_or_ir_is_refused_before_anything_is_sent(server, tmp_path):
    with pytest.raises(InvalidParameter, match="did you mean 'count'"):
        submit(PIPELINES / "types.yaml", {"cuont": 1}, server.host, project=project(tmp_path))
    with pytest.raises(InvalidPipeline, match="task configuration"):
        submit(PIPELINES / "task_config.yaml", {}, server.host, project=project(tmp_path))
    with pytest.raises(UnsupportedConstruct, match="'data' of pipeline 'given' is an artifact"):
        submit(PIPELINES / "given.yaml", {"data": "s3://bucket/data"}, server.host, project=project(tmp_path))
    with pytest.raises(
        UnsupportedConstruct, match="exec-start: a step that starts another pipeline runs on this machine"
    ):
        submit(PIPELINES / "starts.yaml", {}, server.host, project=project(tmp_path))
    assert server.requests == []


def test_the_command_submits_and_tells_where_to_look(server, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("FLEETML_PROJECT", str(project(tmp_path)))
    assert main(["submit", str(PIPELINES / "branches.yaml"), "--host", server.host, "-p", "size=11"]) == 0
    said = capsys.readouterr().out
    assert server.host in said
    (made,) = server.runs.values()
    assert made["runtime_config"]["parameters"]["size"] == 11


def test_the_token_is_sent_and_a_refused_one_is_said(tmp_path):
    with Contract(token="secret-1") as server:
        submit(PIPELINES / "cleanup.yaml", {}, server.host, project=project(tmp_path), token="secret-1")
        with pytest.raises(ConfigurationError, match=r"refused the token \(401\)") as caught:
            submit(PIPELINES / "cleanup.yaml", {}, server.host, project=project(tmp_path), token="secret-2")
    assert "secret-2" not in str(caught.value)


def test_hosts_that_do_not_answer_or_are_something_else(tmp_path, server):
    with pytest.raises(ConfigurationError, match="must begin with http"):
        submit(PIPELINES / "cleanup.yaml", {}, "", project=project(tmp_path))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        host = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(Unavailable, match="does not answer"):
            submit(PIPELINES / "cleanup.yaml", {}, host, project=project(tmp_path))
    with pytest.raises(ConfigurationError, match="is no KFP v2 API server"):
        submit(PIPELINES / "cleanup.yaml", {}, f"{server.host}/elsewhere", project=project(tmp_path))


def test_what_the_server_refuses_is_said_in_its_words(server, tmp_path, monkeypatch):
    monkeypatch.setattr(
        server, "create_run", lambda *_: (_ for _ in ()).throw(sys.modules["kfp_contract"].Refused(400, "no room"))
    )
    with pytest.raises(FleetMLError, match=r"refused the request \(400\): no room"):
        submit(PIPELINES / "cleanup.yaml", {}, server.host, project=project(tmp_path))
    monkeypatch.setattr(
        server, "create_run", lambda *_: (_ for _ in ()).throw(sys.modules["kfp_contract"].Refused(503, "down"))
    )
    with pytest.raises(Unavailable, match="down"):
        submit(PIPELINES / "cleanup.yaml", {}, server.host, project=project(tmp_path))


def test_without_kfp_the_message_says_where_it_is(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "kfp", None)
    with pytest.raises(ConfigurationError, match=r"fleetml\[kfp\]"):
        submit(PIPELINES / "cleanup.yaml", {}, "http://127.0.0.1:1", project=project(tmp_path))


# The contract server itself: it must refuse what KFP refuses, or the tests above prove nothing.


def post(server, path, value):
    request = urllib.request.Request(f"{server.host}{path}", json.dumps(value).encode(), method="POST")
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


@pytest.mark.parametrize(
    ("path", "change", "status", "message"),
    [
        ("/apis/v2beta1/runz", {}, 404, "no such path"),
        ("/apis/v2beta1/runs?x=1", {}, 400, "unknown query"),
        ("/apis/v2beta1/runs", {"surprise": 1}, 400, "has no field 'surprise'"),
        ("/apis/v2beta1/runs", {"display_name": 5}, 400, "must be str"),
        ("/apis/v2beta1/runs", {"runtime_config": {"parameters": {"a": "x"}}}, 400, "requires type NUMBER_INTEGER"),
        ("/apis/v2beta1/runs", {"runtime_config": {"parameters": {"z": 1}}}, 400, "not required by pipeline"),
        ("/apis/v2beta1/runs", {"pipeline_spec": {"schemaVersion": "2.0.0"}}, 400, "Unexpected schemaVersion"),
        ("/apis/v2beta1/runs", {"pipeline_spec": {"nonsense": 1}}, 400, "invalid spec"),
        ("/apis/v2beta1/runs", {"pipeline_version_reference": {}}, 400, None),
        ("/apis/v2beta1/runs", {}, 200, None),
        ("/apis/v2beta1/recurringruns", {"max_concurrency": "one"}, 400, "max_concurrency"),
        ("/apis/v2beta1/recurringruns", {"trigger": {"cron_schedule": {"cron": "0 3 * * 1"}}}, 400, "six fields"),
        ("/apis/v2beta1/recurringruns", {"max_concurrency": "2"}, 200, None),
        ("/apis/v2beta1/recurringruns", {"max_concurrency": 2}, 200, None),
        ("/apis/v2beta1/recurringruns", {"mode": "SOMETIMES"}, 400, "mode"),
    ],
)
def test_the_contract_server_refuses_what_kfp_refuses(server, path, change, status, message):
    _, experiment = post(server, "/apis/v2beta1/experiments", {"display_name": "e"})
    body = {
        "display_name": "r",
        "experiment_id": experiment["experiment_id"],
        "pipeline_spec": yaml.safe_load((PIPELINES / "strangers.yaml").read_text()),
    }
    if "recurring" in path:
        body |= {"mode": "ENABLE", "max_concurrency": 1, "trigger": {"cron_schedule": {"cron": "0 0 3 * * 1"}}}
    if message is None and "pipeline_version_reference" in change:
        body.pop("pipeline_spec")
    got, answer = post(server, path, body | change)
    assert got == status, answer
    assert message is None or message in answer["message"]


def test_a_required_parameter_must_be_present(server):
    _, experiment = post(server, "/apis/v2beta1/experiments", {"display_name": "e"})
    spec = yaml.safe_load((PIPELINES / "strangers.yaml").read_text())
    spec["root"]["inputDefinitions"]["parameters"]["a"] = {"parameterType": "NUMBER_INTEGER"}
    body = {"display_name": "r", "experiment_id": experiment["experiment_id"], "pipeline_spec": {"pipeline_spec": spec}}
    status, answer = post(server, "/apis/v2beta1/runs", body)
    assert (status, answer["message"]) == (400, "parameter a is required but not provided")
