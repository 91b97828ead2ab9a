"""A deployment as an InferenceService of KServe: Triton on the model repository that `fleetml.deploy.triton` writes.

Fields: https://kserve.github.io/website/docs/reference/crd-api (serving.kserve.io/v1beta1)
"""

from __future__ import annotations

from typing import Any

from fleetml.deploy.kubernetes import labels, resources
from fleetml.deploy.spec import Deployment


def service(spec: Deployment) -> dict[str, Any]:
    """Return the InferenceService. The repository lies in the volume claim of the home, under ``deployments/<name>/triton``."""
    scaling = spec.autoscaling
    size = {"requests": resources(spec), "limits": resources(spec)}
    predictor: dict[str, Any] = {
        "minReplicas": scaling.min_replicas if scaling else spec.count,
        "maxReplicas": scaling.max_replicas if scaling else spec.count,
        "model": {
            "modelFormat": {"name": "triton", "version": "2"},
            "runtime": "kserve-tritonserver",
            "protocolVersion": "v2",
            "storageUri": f"pvc://{spec.kubernetes.volume_claim}/deployments/{spec.name}/triton",
            "resources": size,
            **({"env": [{"name": n, "value": v} for n, v in spec.environment.items()]} if spec.environment else {}),
        },
    }
    if scaling:
        predictor |= {"scaleMetric": "concurrency", "scaleTarget": scaling.target_concurrency}
    if spec.instance_type:
        predictor["nodeSelector"] = {"node.kubernetes.io/instance-type": spec.instance_type}
    about = {"name": f"{spec.name}-triton", "namespace": spec.kubernetes.namespace, "labels": labels(spec)}
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": about,
        "spec": {"predictor": predictor},
    }
