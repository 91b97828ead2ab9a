"""A deployment as objects of Kubernetes: Deployment, Service, autoscaler, disruption budget.

Field references: https://kubernetes.io/docs/reference/kubernetes-api/
"""

from __future__ import annotations

from typing import Any

from fleetml.deploy.alerts import CONCURRENCY
from fleetml.deploy.spec import Autoscaling, Deployment
from fleetml.runners.cluster import OURS
from fleetml.runners.pod import NOT_PRIVILEGED

HOME = "/var/lib/fleetml"
"""Where the serving image has its home; `kubernetes.volume_claim` is mounted there."""
GRPC_PORT, HTTP_PORT = 50051, 50052
USER = 10001  # of the serving image
LEAVE_SECONDS = 5
"""A pod that is to end still answers so long: until every node has heard that it takes no more connections."""
_STATUS, _TLS, _TOKENS = "/run/fleetml", "/etc/fleetml/tls", "/etc/fleetml/tokens"


def objects(spec: Deployment) -> list[dict[str, Any]]:
    """Return the manifests, in the order in which they are applied."""
    made = [_service(spec), _deployment(spec), _budget(spec)]
    if spec.autoscaling:
        made.append(_autoscaler(spec, spec.autoscaling))
    return made


def _object(spec: Deployment, version: str, kind: str, body: dict[str, Any]) -> dict[str, Any]:
    about = {"name": spec.name, "namespace": spec.kubernetes.namespace, "labels": labels(spec)}
    return {"apiVersion": version, "kind": kind, "metadata": about, "spec": body}


def labels(spec: Deployment) -> dict[str, str]:
    """Return the labels of everything that is made of a deployment."""
    return {**OURS, **_selector(spec), "fleetml/target": spec.target}


def _selector(spec: Deployment) -> dict[str, str]:
    return {"app.kubernetes.io/name": "fleetml-serving", "app.kubernetes.io/instance": spec.name}


def _service(spec: Deployment) -> dict[str, Any]:
    ports = [
        {"name": "grpc", "port": GRPC_PORT, "targetPort": "grpc", "appProtocol": "grpc"},
        {"name": "http", "port": HTTP_PORT, "targetPort": "http", "appProtocol": "http"},
    ]
    return _object(spec, "v1", "Service", {"type": "ClusterIP", "selector": _selector(spec), "ports": ports})


def _budget(spec: Deployment) -> dict[str, Any]:
    body = {"maxUnavailable": 1, "selector": {"matchLabels": _selector(spec)}}
    return _object(spec, "policy/v1", "PodDisruptionBudget", body)


def _autoscaler(spec: Deployment, scaling: Autoscaling) -> dict[str, Any]:
    target = {"type": "AverageValue", "averageValue": str(scaling.target_concurrency)}
    body = {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": spec.name},
        "minReplicas": scaling.min_replicas,
        "maxReplicas": scaling.max_replicas,
        "metrics": [{"type": "Pods", "pods": {"metric": {"name": CONCURRENCY}, "target": target}}],
        "behavior": {
            "scaleDown": {"stabilizationWindowSeconds": scaling.scale_in_cooldown},
            "scaleUp": {"stabilizationWindowSeconds": scaling.scale_out_cooldown},
        },
    }
    return _object(spec, "autoscaling/v2", "HorizontalPodAutoscaler", body)


def _deployment(spec: Deployment) -> dict[str, Any]:
    scrape = {"scrape": "true", "port": str(HTTP_PORT), "path": "/metrics"}
    if spec.kubernetes.tls_secret:
        scrape["scheme"] = "https"
    about = {"labels": labels(spec), "annotations": {f"prometheus.io/{name}": value for name, value in scrape.items()}}
    body = {
        "replicas": spec.count,
        "selector": {"matchLabels": _selector(spec)},
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
        "template": {"metadata": about, "spec": _pod(spec)},
    }
    return _object(spec, "apps/v1", "Deployment", body)


def _pod(spec: Deployment) -> dict[str, Any]:
    selector = {"node.kubernetes.io/instance-type": spec.instance_type} if spec.instance_type else None
    volumes, _ = _volumes(spec)
    return {
        "containers": [_container(spec)],
        "volumes": volumes,
        "terminationGracePeriodSeconds": 30,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        **({"nodeSelector": selector} if selector else {}),
    }


def _container(spec: Deployment) -> dict[str, Any]:
    variables = {"HOME": "/tmp", **spec.environment}  # noqa: S108 - the one folder of the pod that libraries may fill
    return {
        "name": "serving",
        "image": spec.kubernetes.image,
        "command": command(spec),
        "env": [{"name": name, "value": value} for name, value in variables.items()],
        "ports": [{"name": "grpc", "containerPort": GRPC_PORT}, {"name": "http", "containerPort": HTTP_PORT}],
        "resources": _resources(spec),
        "startupProbe": _probe(spec, "ready", period=2, failures=150),
        "readinessProbe": _probe(spec, "ready", period=5, failures=2),
        "livenessProbe": _probe(spec, "live", period=10, failures=3),
        "lifecycle": {"preStop": {"exec": {"command": ["sleep", str(LEAVE_SECONDS)]}}},
        "securityContext": {**NOT_PRIVILEGED, "runAsNonRoot": True, "readOnlyRootFilesystem": True},
        "volumeMounts": _volumes(spec)[1],
    }


def command(spec: Deployment) -> list[str]:
    """Return the command of a pod: the server with the settings of the deployment."""
    server, cluster = spec.server, spec.kubernetes
    words = ["python", "-m", "fleetml.serving", "--dir", f"{HOME}/serving", "--feature-store", f"{HOME}/feature_store"]
    words += ["--host", "0.0.0.0", "--port", str(GRPC_PORT), "--http-port", str(HTTP_PORT)]  # noqa: S104 - a pod's own
    words += ["--status-dir", _STATUS, *server.words()]
    if cluster.tls_secret:
        words += ["--tls-certificate", f"{_TLS}/tls.crt", "--tls-key", f"{_TLS}/tls.key"]
    if cluster.tokens_secret:
        words += ["--tokens", f"{_TOKENS}/tokens"]
    return words


def resources(spec: Deployment) -> dict[str, str]:
    """Return what a pod asks for and gets at most, in Kubernetes' quantities."""
    made = {"cpu": f"{round(spec.cpu_cores * 1000)}m", "memory": f"{round(spec.memory_gb * 1024)}Mi"}
    return made | ({"nvidia.com/gpu": str(spec.gpu_units)} if spec.gpu_units else {})


def _resources(spec: Deployment) -> dict[str, dict[str, str]]:
    return {"requests": resources(spec), "limits": resources(spec)}


def _probe(spec: Deployment, of: str, period: int, failures: int) -> dict[str, Any]:
    """HTTP, because Kubernetes' probes by gRPC know no TLS. Health needs no token."""
    scheme = "HTTPS" if spec.kubernetes.tls_secret else "HTTP"
    asked = {"path": f"/v2/health/{of}", "port": "http", "scheme": scheme}
    return {"httpGet": asked, "periodSeconds": period, "failureThreshold": failures, "timeoutSeconds": 5}


def _volumes(spec: Deployment) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return volumes and their mounts. Pods share the home, each has a status and scratch space of its own."""
    cluster = spec.kubernetes
    volumes: list[dict[str, Any]] = [
        {"name": "home", "persistentVolumeClaim": {"claimName": cluster.volume_claim}},
        {"name": "status", "emptyDir": {}},
        {"name": "scratch", "emptyDir": {}},
    ]
    mounts: list[dict[str, Any]] = [
        {"name": "home", "mountPath": HOME},
        {"name": "status", "mountPath": _STATUS},
        {"name": "scratch", "mountPath": "/tmp"},  # noqa: S108
    ]
    for name, secret, place in (("tls", cluster.tls_secret, _TLS), ("tokens", cluster.tokens_secret, _TOKENS)):
        if secret:
            volumes.append({"name": name, "secret": {"secretName": secret}})
            mounts.append({"name": name, "mountPath": place, "readOnly": True})
    return volumes, mounts
