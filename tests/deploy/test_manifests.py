"""What is written for clusters, held to the schemas of those who read it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import yaml

from fleetml.deploy import alerts, kserve, kubernetes, reading, triton
from fleetml.deploy.alerts import METRICS, OPERATORS, Alert
from fleetml.errors import InvalidData
from fleetml.serving import backends, deployment, model
from fleetml.serving.__main__ import options
from fleetml.serving.deployment import Card
from tests.cluster.manifests import Refused, check_container, check_model
from tests.deploy.test_reading import WHOLE, changed
from tests.docker.promtool import PROMTOOL

LEAST = {"name": "a", "models": [{"name": "bandwidth"}]}
KINDS = {
    "Service": "V1Service",
    "Deployment": "V1Deployment",
    "PodDisruptionBudget": "V1PodDisruptionBudget",
    "HorizontalPodAutoscaler": "V2HorizontalPodAutoscaler",
}


def made(document: dict[str, Any]) -> dict[str, Any]:
    return {each["kind"]: each for each in kubernetes.objects(reading.parse(document))}


@pytest.mark.parametrize("document", [WHOLE, LEAST, changed("autoscaling", None)], ids=["whole", "least", "fixed"])
def test_kubernetes_takes_every_object(document: dict[str, Any]) -> None:
    found = made(document)
    for kind, body in found.items():
        check_model(body, KINDS[kind])
    pod = found["Deployment"]["spec"]["template"]
    check_container(pod["spec"]["containers"][0], [volume["name"] for volume in pod["spec"]["volumes"]])
    selector = found["Deployment"]["spec"]["selector"]["matchLabels"].items()
    assert selector <= pod["metadata"]["labels"].items()
    assert selector == found["Service"]["spec"]["selector"].items()
    assert ("HorizontalPodAutoscaler" in found) == ("autoscaling" in document)


def test_the_check_of_the_objects_sees_a_wrong_one() -> None:
    body = made(WHOLE)["HorizontalPodAutoscaler"]
    body["spec"]["minReplicas"] = "two"
    with pytest.raises(Refused):
        check_model(body, "V2HorizontalPodAutoscaler")


def test_cooldowns_and_concurrency_are_the_autoscalers() -> None:
    body = made(WHOLE)["HorizontalPodAutoscaler"]["spec"]
    assert (body["minReplicas"], body["maxReplicas"]) == (2, 10)
    assert body["behavior"]["scaleDown"]["stabilizationWindowSeconds"] == 300
    assert body["behavior"]["scaleUp"]["stabilizationWindowSeconds"] == 60
    pods = body["metrics"][0]["pods"]
    assert pods["metric"]["name"] == alerts.adapter()["rules"][0]["name"]["as"]
    assert pods["target"]["averageValue"] == "100"


def test_a_pod_is_no_root_and_is_probed() -> None:
    pod = made(WHOLE)["Deployment"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"]["allowPrivilegeEscalation"] is False
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    probes = [container[f"{kind}Probe"]["httpGet"] for kind in ("startup", "readiness", "liveness")]
    assert [probe["path"] for probe in probes] == ["/v2/health/ready", "/v2/health/ready", "/v2/health/live"]
    assert {probe["scheme"] for probe in probes} == {"HTTPS"}
    assert container["resources"]["limits"] == {"cpu": "2000m", "memory": "4096Mi", "nvidia.com/gpu": "1"}
    assert pod["nodeSelector"] == {"node.kubernetes.io/instance-type": "m5.xlarge"}
    plain = made(LEAST)["Deployment"]["spec"]["template"]
    assert plain["spec"]["containers"][0]["readinessProbe"]["httpGet"]["scheme"] == "HTTP"
    assert plain["metadata"]["annotations"]["prometheus.io/port"] == "50052"


def test_the_server_takes_the_pods_command() -> None:
    for document in (WHOLE, LEAST):
        given = reading.parse(document)
        words = kubernetes.command(given)
        assert words[:3] == ["python", "-m", "fleetml.serving"]
        told, workers = options(words[3:])
        assert (told.port, told.http_port, told.backend) == (50051, 50052, given.server.backend)
        assert (told.log_share, told.limits.batch_rows) == (given.server.log_share, given.server.batch_rows)
        assert workers == given.server.workers
        assert given.server.over(told) == told
        assert told.access.key == (Path("/etc/fleetml/tls/tls.key") if document is WHOLE else None)


def every_alert() -> list[Alert]:
    return [Alert(metric, OPERATORS[at % 4], 0.5, 5) for at, metric in enumerate(METRICS)]


@pytest.mark.skipif(PROMTOOL is None, reason="no promtool (Debian: apt-get install prometheus)")
def test_prometheus_takes_every_alert(tmp_path: Path) -> None:
    place = tmp_path / "rules.yml"
    place.write_text(yaml.safe_dump(alerts.rules("fleet", ["band.width", "cpu"], every_alert())))
    checked = subprocess.run([str(PROMTOOL), "check", "rules", str(place)], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert f"{len(METRICS)} rules found" in checked.stdout


SERIES = [
    ('model_prediction_latency_seconds_bucket{model="bandwidth",le="0.01"}', "0+50x20"),
    ('model_prediction_latency_seconds_bucket{model="bandwidth",le="0.1"}', "0+100x20"),
    ('model_prediction_latency_seconds_bucket{model="bandwidth",le="+Inf"}', "0+100x20"),
    ('model_prediction_latency_seconds_bucket{model="other",le="10"}', "0+100x20"),
    ('model_prediction_latency_seconds_bucket{model="other",le="+Inf"}', "0+100x20"),
    ('grpc_server_handled_total{grpc_code="OK"}', "0+98x20"),
    ('grpc_server_handled_total{grpc_code="INVALID_ARGUMENT"}', "0+1x20"),
    ('grpc_server_handled_total{grpc_code="INTERNAL"}', "0+1x20"),
]


@pytest.mark.skipif(PROMTOOL is None, reason="no promtool (Debian: apt-get install prometheus)")
@pytest.mark.parametrize(
    ("metric", "threshold", "fires"),
    [
        ("latency_p99", 50, {"model": "bandwidth"}),
        ("latency_p99", 150, None),
        ("error_rate", 0.009, {}),
        ("error_rate", 0.011, None),
    ],
)
def test_an_alert_fires_above_its_threshold_for_its_own_models(
    tmp_path: Path, metric: str, threshold: float, fires: dict[str, str] | None
) -> None:
    rules = alerts.rules("fleet", ["bandwidth"], [Alert(metric, ">", threshold, 5)])
    rule = rules["groups"][0]["rules"][0]
    (tmp_path / "rules.yml").write_text(yaml.safe_dump(rules))
    labels = {"severity": "warning", "deployment": "fleet"}
    value = {"latency_p99": "98.2", "error_rate": "0.01"}[metric]
    summary = rule["annotations"]["summary"].replace("{{ $labels.model }}", "bandwidth")
    summary = summary.replace('{{ printf "%.4g" $value }}', value)
    fired = [
        {"exp_labels": {**labels, **(fires or {})}, "exp_annotations": {**rule["annotations"], "summary": summary}}
    ]
    case = {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in SERIES],
        "alert_rule_test": [
            {"eval_time": "15m", "alertname": rule["alert"], "exp_alerts": fired if fires is not None else []}
        ],
    }
    (tmp_path / "test.yml").write_text(yaml.safe_dump({"rule_files": ["rules.yml"], "tests": [case]}))
    checked = subprocess.run([str(PROMTOOL), "test", "rules", "test.yml"], capture_output=True, text=True, cwd=tmp_path)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def loaded(root: Path, graph: Path, version: str = "7") -> model.Model:
    card = Card("bandwidth", version, deployment.digest(graph))
    deployment.install(root, card, {deployment.GRAPH: graph})
    place = f"models/bandwidth/{version}/{deployment.GRAPH}"
    served = deployment.Deployed(version, place, card.sha256)
    return model.load(root, "bandwidth", served, backends.choose("cpu"))


needs_triton = pytest.mark.skipif(find_spec("tritonclient") is None, reason="no tritonclient (make dev)")


def parsed(text: str) -> Any:
    """Read by protobuf's own parser against Triton's own schema, in a process of its own: it registers generated code."""
    code = (
        "import json, sys; from google.protobuf import json_format, text_format;"
        "from tritonclient.grpc import model_config_pb2 as c;"
        "print(json_format.MessageToJson(text_format.Parse(sys.stdin.read(), c.ModelConfig())))"
    )
    done = subprocess.run([sys.executable, "-c", code], input=text, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return yaml.safe_load(done.stdout)


@needs_triton
def test_triton_reads_the_repository(tmp_path: Path, graph: Callable[..., Path]) -> None:
    own = loaded(tmp_path / "serving", graph())
    triton.write(tmp_path / "triton", reading.parse(WHOLE), [(own, graph())])
    assert (tmp_path / "triton/bandwidth/7/model.onnx").read_bytes() == graph().read_bytes()
    found = parsed((tmp_path / "triton/bandwidth/config.pbtxt").read_text())
    assert (found["name"], found["maxBatchSize"]) == ("bandwidth", 64)
    assert found["versionPolicy"] == {"specific": {"versions": ["7"]}}
    inputs = {each["name"]: (each["dataType"], each["dims"]) for each in found["input"]}
    assert inputs == {"history": ("TYPE_FP32", ["12"]), "covariates": ("TYPE_FP32", ["1"])}
    assert found["instanceGroup"] == [{"kind": "KIND_GPU", "count": 2}]
    assert found["dynamicBatching"]["defaultQueuePolicy"]["maxQueueSize"] == 16384


def test_triton_knows_versions_by_numbers_only(tmp_path: Path, graph: Callable[..., Path]) -> None:
    with pytest.raises(InvalidData, match="has version 'new'"):
        triton.config(loaded(tmp_path, graph(), "new"), reading.parse(LEAST))


@needs_triton
def test_odd_graphs_get_a_configuration_too(tmp_path: Path, graph: Callable[..., Path]) -> None:
    session = SimpleNamespace(
        inputs=(
            backends.Tensor("x", np.dtype(np.int64), (None,)),
            backends.Tensor("t", np.dtype(object), (None, None)),
        ),
        outputs=(backends.Tensor("y", np.dtype(np.float32), (None, 3)),),
    )
    own = replace(loaded(tmp_path, graph()), session=session)
    found = parsed(triton.config(own, reading.parse(changed("server.backend", "tensorrt"))))
    assert (found["input"][0]["dims"], found["input"][0]["reshape"]) == (["1"], {})
    assert (found["input"][1]["dims"], found["input"][1]["dataType"]) == (["-1"], "TYPE_STRING")
    assert found["optimization"]["executionAccelerators"]["gpuExecutionAccelerator"] == [{"name": "tensorrt"}]
    alone = parsed(triton.config(replace(own, batchable=False), reading.parse(LEAST)))
    assert "dynamicBatching" not in alone
    assert alone["input"][0]["dims"] == ["-1"]


def test_kserve_is_told_where_the_repository_is_and_how_it_scales() -> None:
    body = kserve.service(reading.parse(WHOLE))
    predictor = body["spec"]["predictor"]
    assert body["metadata"]["name"] == "fleet-models-triton"
    assert predictor["model"]["storageUri"] == "pvc://home/deployments/fleet-models/triton"
    assert (predictor["minReplicas"], predictor["maxReplicas"], predictor["scaleTarget"]) == (2, 10, 100)
    fixed = kserve.service(reading.parse(changed("autoscaling", None)))["spec"]["predictor"]
    assert (fixed["minReplicas"], fixed["maxReplicas"]) == (3, 3)
    assert "scaleTarget" not in fixed
    check_model({"containers": [{"name": "x", "resources": predictor["model"]["resources"]}]}, "V1PodSpec")
