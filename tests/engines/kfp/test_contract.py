"""The contract server itself: it must refuse what KFP refuses, or the tests of submission prove nothing."""

import json
import urllib.error
import urllib.request

import pytest
import yaml

pytest.importorskip("kfp")

from tests.engines.kfp.conftest import PIPELINES


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
