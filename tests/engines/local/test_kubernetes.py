"""Whole pipelines as pods, against a stand-in for a cluster: the same results as processes give."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fleetml.engines import local
from fleetml.pipeline import document, load, plan_of
from fleetml.records import Run
from fleetml.settings import Settings
from tests.cluster import IMAGE, Cluster

PIPELINES = Path(__file__).parents[2] / "pipelines"


@pytest.fixture
def pods(project: Settings, cluster: Cluster) -> Settings:
    """Settings of a project whose image was pushed, with a pod per step."""
    table = project.project / "images/images.toml"
    registry, _, digest = IMAGE.partition("@")
    table.write_text(table.read_text().replace("locks", f'registry = "{registry}"\ndigest = "{digest}"\nlocks'))
    return replace(project, runner="kubernetes")


def go(path: Path, settings: Settings, run_id: str, **parameters: Any) -> dict[str, Any]:
    """Run a pipeline; return what each step came to."""
    plan = load(path)
    local.run(local.Job(plan, path, plan.bind(parameters), run_id), settings)
    return {
        step: (each.state, (each.outcome or {}).get("parameters"))
        for step, each in Run(settings.home, run_id).latest().items()
    }


def test_a_pipeline_gives_what_it_gives_as_processes(pods: Settings, cluster: Cluster) -> None:
    found = go(PIPELINES / "branches.yaml", pods, "pods")
    assert found == go(PIPELINES / "branches.yaml", replace(pods, runner="subprocess"), "processes")
    assert "succeeded" in {state for state, _ in found.values()}
    assert cluster.created


def test_the_same_again_is_a_hit_and_starts_no_pod(pods: Settings, cluster: Cluster) -> None:
    first = go(PIPELINES / "nested.yaml", pods, "first")
    created = len(cluster.created)
    assert go(PIPELINES / "nested.yaml", pods, "second") == first
    assert len(cluster.created) == created


def test_a_claim_is_made_mounted_by_its_name_and_deleted(pods: Settings, cluster: Cluster, tmp_path: Path) -> None:
    """The name comes from the step that makes it, as kubernetes.mount_pvc(task, made.outputs["name"]) compiles."""
    spec = document.read(PIPELINES / "strangers.yaml")
    echo = {"image": "fleetml/ml", "command": ["python", "-c", "print('ran')"]}
    spec["deploymentSpec"]["executors"] = {
        "exec-make": {"container": {"image": "argostub/createpvc"}},
        "exec-use": {"container": echo},
        "exec-drop": {"container": {"image": "argostub/deletepvc"}},
    }
    text = {"parameterType": "STRING"}
    spec["components"] = {
        "comp-make": {
            "executorLabel": "exec-make",
            "inputDefinitions": {"parameters": {"access_modes": {"parameterType": "LIST"}, "size": text}},
            "outputDefinitions": {"parameters": {"name": text}},
        },
        "comp-use": {"executorLabel": "exec-use"},
        "comp-drop": {"executorLabel": "exec-drop", "inputDefinitions": {"parameters": {"pvc_name": text}}},
    }
    made = {"taskOutputParameter": {"producerTask": "make", "outputParameterKey": "name"}}
    given = {
        "access_modes": {"runtimeValue": {"constant": ["ReadWriteOnce"]}},
        "size": {"runtimeValue": {"constant": "1Gi"}},
    }
    tasks = {
        "make": {"componentRef": {"name": "comp-make"}, "inputs": {"parameters": given}},
        "use": {"componentRef": {"name": "comp-use"}},
        "drop": {
            "componentRef": {"name": "comp-drop"},
            "dependentTasks": ["use"],
            "inputs": {"parameters": {"pvc_name": made}},
        },
    }
    spec["root"] = {"dag": {"tasks": tasks}}
    mount = {"exec-use": {"pvcMount": [{"pvcNameParameter": made, "mountPath": "/data"}]}}
    spec["platforms"] = {"kubernetes": {"deploymentSpec": {"executors": mount}}}
    path = tmp_path / "pipeline.json"
    path.write_text(json.dumps(spec))
    assert list(plan_of(spec).steps) == ["make", "use", "drop"]
    found = go(path, pods, "r")
    assert {state for state, _ in found.values()} == {"succeeded"}
    (manifest,) = cluster.created
    claims = [volume.get("persistentVolumeClaim") for volume in manifest["spec"]["volumes"]]
    assert {"claimName": found["make"][1]["name"]} in claims
    assert cluster.claims == {}


def test_a_secret_is_referred_to_and_hidden_where_it_is_known_here(
    pods: Settings, cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.secrets = {"login": {"key": "hush hush"}}
    monkeypatch.setenv("FLEETML_SECRET_LOGIN_KEY", "hush hush")
    spec = document.read(PIPELINES / "strangers.yaml")
    code = "import os; print('it is', os.environ['KEY'])"
    spec["deploymentSpec"]["executors"] = {
        "exec-a": {"container": {"image": "fleetml/ml", "command": ["python", "-c", code]}}
    }
    spec["components"] = {"comp-a": {"executorLabel": "exec-a"}}
    spec["root"] = {"dag": {"tasks": {"a": {"componentRef": {"name": "comp-a"}}}}}
    asked = [{"secretName": "login", "keyToEnv": [{"secretKey": "key", "envVar": "KEY"}]}]
    spec["platforms"] = {"kubernetes": {"deploymentSpec": {"executors": {"exec-a": {"secretAsEnv": asked}}}}}
    path = tmp_path / "pipeline.json"
    path.write_text(json.dumps(spec))
    assert go(path, pods, "r")["a"][0] == "succeeded"
    log = (Run(pods.home, "r").step_folder("a") / "attempt-1.log").read_text()
    assert "it is" in log
    assert "hush hush" not in log
    assert "hush hush" not in json.dumps(cluster.created)
