"""The published JSON Schema of deployments: ``python -m fleetml.deploy.schema docs/schemas``.

What a schema cannot say (more replicas at least than at most, a name that stands twice) `fleetml.deploy.reading` alone refuses.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from fleetml.deploy import spec
from fleetml.deploy.alerts import METRICS, OPERATORS
from fleetml.serving import backends
from fleetml.workflow.schema import DIALECT, closed, text

FILE = "deployment.schema.json"


def deployment() -> dict[str, Any]:
    """Return the schema of a deployment."""
    made = closed(
        {
            "name": _like(spec.NAME),
            "target": _like(spec.LABEL),
            "models": {"type": "array", "minItems": 1, "items": _model()},
            "instance": _optional(closed({"type": _like(spec.LABEL), "count": _number(1, 10_000, True)})),
            "resources": _optional(closed(_resources())),
            "autoscaling": _optional(closed(_autoscaling(), ("min_replicas", "max_replicas"))),
            "environment": _optional(_environment()),
            "prediction_log": _optional(closed({"sample_rate": _number(0, 1, False)})),
            "alerts": _optional({"type": "array", "items": _alert()}),
            "server": _optional(closed(_server())),
            "kubernetes": _optional(closed({name: _of_cluster(name) for name in spec.KUBERNETES})),
        },
        ("name", "models"),
    )
    return {"$schema": DIALECT, "title": "FleetML deployment", **made}


def _like(pattern: str) -> dict[str, Any]:
    return {"type": "string", "pattern": f"^({pattern})$"}


def _optional(schema: dict[str, Any]) -> dict[str, Any]:
    return {**schema, "type": [schema["type"], "null"]}


def _number(low: float, high: float, whole: bool) -> dict[str, Any]:
    return {"type": "integer" if whole else "number", "minimum": low, "maximum": high}


def _model() -> dict[str, Any]:
    version = {"anyOf": [_like(spec.MODEL), {"type": "integer", "minimum": 0}]}
    return closed({"name": _like(spec.MODEL), "version": version}, ("name",))


def _resources() -> dict[str, Any]:
    some = {"type": "number", "minimum": 0.01}
    return {"cpu_cores": some, "memory_gb": some, "gpu_units": {"type": "integer", "minimum": 0}}


def _autoscaling() -> dict[str, Any]:
    return {name: _number(low, high, True) for name, (low, high) in spec.AUTOSCALING.items()}


def _environment() -> dict[str, Any]:
    names = {"pattern": f"^({spec.VARIABLE})$"}
    return {"type": "object", "propertyNames": names, "additionalProperties": {"type": ["string", "number"]}}


def _alert() -> dict[str, Any]:
    metric = {"enum": list(METRICS), "description": "; ".join(f"{name}: {unit}" for name, (_, unit) in METRICS.items())}
    window = _number(1, spec.WINDOW_MINUTES, True)
    threshold = {"type": "number", "minimum": 0}
    made = {"metric": metric, "operator": {"enum": list(OPERATORS)}, "threshold": threshold, "window_minutes": window}
    return closed(made, made)


def _server() -> dict[str, Any]:
    figures = {name: _number(low, high, whole) for name, (low, high, whole) in spec.SERVER.items()}
    return {"backend": {"enum": list(backends.NAMES)}, **figures}


def _of_cluster(name: str) -> dict[str, Any]:
    return _like(spec.IMAGE if name == "image" else spec.OBJECT)


if __name__ == "__main__":
    (Path(sys.argv[1]) / FILE).write_text(text(deployment()), encoding="utf-8")
