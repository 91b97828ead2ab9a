"""A deployment as its author wrote it; `fleetml.deploy.reading` checks it field by field.

name: fleet-models                        (names everything made of it)
target: production                        (optional; a label)
models:
  - {name: bandwidth, version: champion}  (a version or an alias of the registry; without one its champion)
instance: {type: m5.xlarge, count: 2}     (optional; the node's instance type, and the pods to begin with)
resources: {cpu_cores: 2, memory_gb: 4, gpu_units: 0}
autoscaling: {min_replicas: 2, max_replicas: 10, target_concurrency: 100, scale_in_cooldown: 300, scale_out_cooldown: 60}
environment: {OMP_NUM_THREADS: "1"}       (optional; variables of the pods)
prediction_log: {sample_rate: 0.1}        (optional; without it every answer is logged)
alerts: [{metric: latency_p99, operator: ">", threshold: 50, window_minutes: 5}]
server: {workers: 2, backend: cpu, batch_rows: 256}      (optional; see `SERVER`)
kubernetes: {namespace: default, image: …, volume_claim: fleetml, tls_secret: …, tokens_secret: …}
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field

from fleetml.deploy.alerts import Alert
from fleetml.frozen import frozen
from fleetml.serving.settings import ServerSettings

TOP = (
    *("name", "target", "models", "instance", "resources", "autoscaling", "environment"),
    *("prediction_log", "alerts", "server", "kubernetes"),
)
ELSEWHERE = ("instance", "resources", "autoscaling", "environment", "alerts", "kubernetes")
"""What only clusters and Prometheus honour, not the server of this machine."""
RESOURCES = ("cpu_cores", "memory_gb", "gpu_units")
AUTOSCALING: Mapping[str, tuple[int, int]] = {
    "min_replicas": (1, 10_000),
    "max_replicas": (1, 10_000),
    "target_concurrency": (1, 1_000_000),
    "scale_in_cooldown": (0, 3600),
    "scale_out_cooldown": (0, 3600),
}
"""Least and most; Kubernetes takes no longer cooldown [s]."""
SERVER: Mapping[str, tuple[float, float, bool]] = {
    "workers": (1, 256, True),
    "queued_rows": (1, 1e9, True),
    "batch_rows": (1, 1e6, True),
    "client_rate": (0, 1e9, False),
    "cache": (0, 1e9, True),
    "cache_seconds": (0, 1e9, False),
    "connections": (1, 1e6, True),
}
"""Least, most, whole: options of ``python -m fleetml.serving`` by the same names; `backend` is another."""
KUBERNETES = ("namespace", "image", "volume_claim", "tls_secret", "tokens_secret")
WINDOW_MINUTES = 1440
NAME = "[a-z]([a-z0-9-]{0,48}[a-z0-9])?"
OBJECT = "[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?"
LABEL = "[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?"
VARIABLE = "[A-Za-z_][A-Za-z0-9_]*"
MODEL = "[A-Za-z0-9][A-Za-z0-9._-]{0,127}"
IMAGE = r"\S+"


@frozen
class Served:
    """A model, and the version or alias of the registry that is to be served."""

    name: str
    version: str = "champion"


@frozen
class Autoscaling:
    """Pods, questions that one pod answers at once, and seconds without a change before pods go (`in`) or come (`out`)."""

    min_replicas: int
    max_replicas: int
    target_concurrency: int = 100
    scale_in_cooldown: int = 300
    scale_out_cooldown: int = 60


@frozen
class Kubernetes:
    """`image` "": the project's serving image. `volume_claim` holds the home; the secrets are made by hand, "": none."""

    namespace: str = "default"
    image: str = "fleetml/serving"
    volume_claim: str = "fleetml"
    tls_secret: str = ""
    tokens_secret: str = ""


@frozen
class Deployment:
    """A checked document; that its models are in the registry is checked by `fleetml.deploy.versions`."""

    name: str
    models: tuple[Served, ...]
    target: str = "production"
    instance_type: str = ""
    count: int = 1
    cpu_cores: float = 1.0
    memory_gb: float = 2.0
    gpu_units: int = 0
    autoscaling: Autoscaling | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    alerts: tuple[Alert, ...] = ()
    server: ServerSettings = field(default_factory=ServerSettings)
    kubernetes: Kubernetes = field(default_factory=Kubernetes)
