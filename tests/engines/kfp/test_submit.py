"""Submission, against a local server that checks every request: no KFP cluster can be had here (see contract.py)."""

import pytest
import yaml

pytest.importorskip("kfp")

from fleetml.cli import main
from fleetml.engines.kfp import Schedule, submit
from fleetml.errors import (
    ConfigurationError,
)
from tests.engines.kfp.conftest import DIGEST, PIPELINES, project
from tests.engines.kfp.contract import Contract


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
