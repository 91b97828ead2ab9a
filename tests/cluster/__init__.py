"""A stand-in for a Kubernetes cluster: the few API calls that a runner makes, over real HTTP.

No cluster can be had where these tests run. Manifests are checked against the official client's generated models (strictly:
what the API has no field for is refused) and against the rules of the API server that a runner could break; a pod's
command then runs as a process of this machine. What a kubelet tells of a container's life is told in its words and its
order: Pending, Running, terminated (Completed, Error, OOMKilled, StartError), DeadlineExceeded, deletion with a grace. Its
metrics keep the last sample, which those of a real cluster do not.
"""

from __future__ import annotations

import http.server
import json
import sys
import threading
from pathlib import Path
from typing import Any

from tests.cluster.api import Handler
from tests.cluster.manifests import Refused, check_model, check_pod
from tests.cluster.pod import Pod

__all__ = ["IMAGE", "Cluster", "check_model", "check_pod"]

IMAGE = "registry.example/fleetml-ml@sha256:" + "a" * 64


class Cluster:
    """Its state, and its address. `images` maps references to the folder of their programs; use as a context manager."""

    def __init__(self, images: dict[str, Path] | None = None) -> None:
        self.images = {IMAGE: Path(sys.prefix) / "bin"} if images is None else images
        self.secrets: dict[str, dict[str, str]] = {}
        self.config_maps: dict[str, dict[str, str]] = {}
        self.claims: dict[str, dict[str, Any]] = {}
        self.pods: dict[str, Pod] = {}
        self.created: list[dict[str, Any]] = []  # manifests of all pods, as they came
        self.unschedulable = ""
        self.busy = 0  # so many answers are "too many requests"
        self.cut_logs = 0  # so many connections that follow a log break after a line
        self.requests: list[tuple[str, str]] = []
        self.changed = threading.Condition()
        self.version = 1

    def __enter__(self) -> Cluster:
        handler = type("Handler", (Handler,), {"cluster": self})
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        for pod in list(self.pods.values()):
            pod.end(0)
        self.server.shutdown()
        self.server.server_close()

    def kubeconfig(self, folder: Path) -> Path:
        """Write and return a kubeconfig that leads here."""
        address = f"http://127.0.0.1:{self.server.server_address[1]}"
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "test",
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
            "clusters": [{"name": "test", "cluster": {"server": address}}],
            "users": [{"name": "test", "user": {"token": "token"}}],
        }
        path = folder / "kubeconfig"
        path.write_text(json.dumps(document))
        return path

    def tell(self, pod: Pod, kind: str = "MODIFIED") -> None:
        """Let those who watch know."""
        with self.changed:
            self.version += 1
            pod.body["metadata"]["resourceVersion"] = str(self.version)
            pod.events.append((self.version, kind, json.dumps(pod.body)))
            self.changed.notify_all()

    def answer(self, method: str, path: str, query: dict[str, str], body: Any) -> Any:
        """Return what a call that is no stream is answered with."""
        if self.busy:
            self.busy -= 1
            raise Refused(429, "too many requests, please try again later")
        core, metrics = "/api/v1/namespaces/default", "/apis/metrics.k8s.io/v1beta1/namespaces/default/pods/"
        if method == "GET" and path.startswith(metrics):
            return self.pod(path.removeprefix(metrics)).metrics()
        kind, _, name = path.removeprefix(f"{core}/").partition("/")
        if not path.startswith(f"{core}/"):
            raise Refused(404, f'namespaces "{path.split("/")[-2]}" not found')
        if kind == "persistentvolumeclaims":
            return self.claim(method, name, body)
        if kind != "pods":
            raise Refused(404, "the server could not find the requested resource")
        match method:
            case "POST":
                return self.create(body)
            case "GET" if name:
                return self.pod(name).body
            case "GET":
                return self.labelled(query["labelSelector"])
            case "DELETE":
                pod = self.pod(name)
                grace = int(query.get("gracePeriodSeconds", pod.body["spec"].get("terminationGracePeriodSeconds", 30)))
                pod.delete(grace)
                return pod.body
        raise Refused(405, "method not allowed")

    def labelled(self, selector: str) -> dict[str, Any]:
        label, _, value = selector.partition("=")
        ours = [pod.body for pod in self.pods.values() if pod.body["metadata"].get("labels", {}).get(label) == value]
        return {"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": ours}

    def pod(self, name: str) -> Pod:
        if name not in self.pods:
            raise Refused(404, f'pods "{name}" not found')
        return self.pods[name]

    def create(self, body: dict[str, Any]) -> dict[str, Any]:
        check_model(body, "V1Pod")
        check_pod(body)
        name = body["metadata"]["name"]
        if name in self.pods:
            raise Refused(409, f'pods "{name}" already exists')
        self.created.append(json.loads(json.dumps(body)))
        pod = self.pods[name] = Pod(self, body)
        self.tell(pod, "ADDED")
        threading.Thread(target=pod.live, daemon=True).start()
        return pod.body

    def claim(self, method: str, name: str, body: Any) -> dict[str, Any]:
        if method == "POST":
            check_model(body, "V1PersistentVolumeClaim")
            if body["metadata"]["name"] in self.claims:
                raise Refused(409, f'persistentvolumeclaims "{body["metadata"]["name"]}" already exists')
            self.claims[body["metadata"]["name"]] = body
            return dict(body)
        if name not in self.claims:
            raise Refused(404, f'persistentvolumeclaims "{name}" not found')
        return self.claims.pop(name)
