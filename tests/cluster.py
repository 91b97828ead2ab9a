"""A stand-in for a Kubernetes cluster: the few API calls that a runner makes, over real HTTP.

No cluster can be had where these tests run. Manifests are checked against the official client's generated models (strictly:
what the API has no field for is refused) and against the rules of the API server that a runner could break; a pod's
command then runs as a process of this machine. What a kubelet tells of a container's life is told in its words and its
order: Pending, Running, terminated (Completed, Error, OOMKilled, StartError), DeadlineExceeded, deletion with a grace. Its
metrics keep the last sample, which those of a real cluster do not.
"""

from __future__ import annotations

import contextlib
import datetime
import http.server
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

IMAGE = "registry.example/fleetml-ml@sha256:" + "a" * 64
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?\Z")
_STATUS = {400: "BadRequest", 403: "Forbidden", 404: "NotFound", 409: "AlreadyExists", 422: "Invalid"}


class Refused(Exception):
    """An answer other than 200."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


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
        handler = type("Handler", (_Handler,), {"cluster": self})
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
                label, _, value = query["labelSelector"].partition("=")
                ours = [
                    pod.body for pod in self.pods.values() if pod.body["metadata"].get("labels", {}).get(label) == value
                ]
                return {"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": ours}
            case "DELETE":
                pod = self.pod(name)
                grace = int(query.get("gracePeriodSeconds", pod.body["spec"].get("terminationGracePeriodSeconds", 30)))
                pod.delete(grace)
                return pod.body
        raise Refused(405, "method not allowed")

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


class Pod:
    """One pod, and the process that stands for its container."""

    def __init__(self, cluster: Cluster, body: dict[str, Any]) -> None:
        self.cluster, self.body = cluster, body
        self.container = body["spec"]["containers"][0]
        self.log: list[tuple[str, bytes]] = []
        self.events: list[tuple[int, str, str]] = []
        self.process: subprocess.Popen[bytes] | None = None
        self.over = threading.Event()
        self.started = time.monotonic()
        self.used = (0.0, 0)
        self.oom = self.late = False
        self.folder = Path(tempfile.mkdtemp(prefix="pod-"))
        body["metadata"]["creationTimestamp"] = now()
        body["status"] = {"phase": "Pending", "conditions": []}

    # ---- its life, as a kubelet tells it

    def live(self) -> None:
        try:
            if self.cluster.unschedulable:
                self.wait_for_node()
            reference = self.container["image"]
            if reference not in self.cluster.images:
                return self.waiting("ErrImagePull", f'failed to pull image "{reference}": not found')
            try:
                env = self.environment()
            except LookupError as missing:
                return self.waiting("CreateContainerConfigError", str(missing.args[0]))
            self.run(
                [expanded(word, env) for word in (*self.container.get("command", ()), *self.container.get("args", ()))],
                env,
            )
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)

    def wait_for_node(self) -> None:
        condition = {
            "type": "PodScheduled",
            "status": "False",
            "reason": "Unschedulable",
            "message": self.cluster.unschedulable,
        }
        self.body["status"]["conditions"] = [condition]
        self.cluster.tell(self)
        while self.cluster.unschedulable and not self.over.wait(0.02):
            pass
        self.body["status"]["conditions"] = [{"type": "PodScheduled", "status": "True"}]

    def waiting(self, reason: str, message: str) -> None:
        self.state({"waiting": {"reason": reason, "message": message}})

    def state(self, state: dict[str, Any], **status: Any) -> None:
        told = {
            "name": self.container["name"],
            "image": self.container["image"],
            "imageID": self.container["image"],
            "ready": "running" in state,
            "restartCount": 0,
            "state": state,
        }
        self.body["status"] = {**self.body["status"], **status, "containerStatuses": [told]}
        self.cluster.tell(self)

    def environment(self) -> dict[str, str]:
        env: dict[str, str] = {"PATH": f"{self.cluster.images[self.container['image']]}:/usr/bin:/bin"}
        for entry in self.container.get("env", ()):
            name = entry["name"]
            if "valueFrom" not in entry:
                env[name] = expanded(entry.get("value", ""), env)
                continue
            ((kind, source),) = entry["valueFrom"].items()
            if kind == "fieldRef":
                env[name] = field(self.body, source["fieldPath"])
                continue
            what, there = (
                ("secret", self.cluster.secrets) if kind == "secretKeyRef" else ("configmap", self.cluster.config_maps)
            )
            if source["key"] in there.get(source["name"], {}):
                env[name] = there[source["name"]][source["key"]]
            elif not source.get("optional"):
                raise LookupError(f'{what} "{source["name"]}" not found')
        # A container has a file system of its own; here that is a folder.
        return {**env, "TMPDIR": str(self.folder)}

    def run(self, argv: list[str], env: dict[str, str]) -> None:
        if shutil.which(argv[0], path=env["PATH"]) is None:
            message = (
                f'failed to create containerd task: exec: "{argv[0]}": executable file not found in $PATH: unknown'
            )
            return self.ended({"exitCode": 128, "reason": "StartError", "message": message})
        self.process = subprocess.Popen(
            [shutil.which(argv[0], path=env["PATH"]) or "", *argv[1:]],
            env=env,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self.state({"running": {"startedAt": now()}}, phase="Running", startTime=now())
        reader = threading.Thread(target=self.read, daemon=True)
        reader.start()
        threading.Thread(target=self.limit, daemon=True).start()
        _, status, used = os.wait4(self.process.pid, 0)
        self.process.returncode = code = os.waitstatus_to_exitcode(status)
        self.used = (used.ru_utime + used.ru_stime, used.ru_maxrss * 1024)
        self.kill(signal.SIGKILL)  # nothing of a container outlives its first process
        reader.join(10)
        reason = "OOMKilled" if self.oom else "Completed" if code == 0 else "Error"
        self.ended({"exitCode": 128 - code if code < 0 else code, "reason": reason})

    def ended(self, state: dict[str, Any]) -> None:
        phase = {"phase": "Failed" if state["exitCode"] else "Succeeded"}
        why = (
            {"reason": "DeadlineExceeded", "message": "Pod was active longer than specified deadline"}
            if self.late
            else {}
        )
        self.state({"terminated": {**state, "startedAt": now(), "finishedAt": now()}}, **phase, **why)
        self.over.set()
        with self.cluster.changed:
            self.cluster.changed.notify_all()

    def read(self) -> None:
        assert self.process
        assert self.process.stdout
        for line in self.process.stdout:
            with self.cluster.changed:
                stamp = f"{datetime.datetime.now(datetime.UTC):%Y-%m-%dT%H:%M:%S.%f}{len(self.log) % 1000:03}Z"
                self.log.append((stamp, line.removesuffix(b"\n")))
                self.cluster.changed.notify_all()

    def limit(self) -> None:
        assert self.process
        seconds = self.body["spec"].get("activeDeadlineSeconds")
        memory = self.container.get("resources", {}).get("limits", {}).get("memory")
        while not self.over.wait(0.02):
            if memory and resident(self.process.pid) > int(memory):
                self.oom = True
                self.kill(signal.SIGKILL)
            if seconds and time.monotonic() - self.started > seconds and not self.late:
                self.late = True
                self.end(self.body["spec"].get("terminationGracePeriodSeconds", 30))

    def kill(self, number: signal.Signals) -> None:
        """Signal the container: its first process; to kill it is to kill all of it."""
        if number != signal.SIGKILL:
            if self.process and self.process.returncode is None:
                self.process.send_signal(number)
            return
        token = f"TMPDIR={self.folder}\0".encode()
        for entry in Path("/proc").glob("[0-9]*/environ"):
            with contextlib.suppress(OSError):
                if token in entry.read_bytes():
                    os.kill(int(entry.parent.name), number)

    def end(self, grace: float) -> None:
        if self.process and not self.over.is_set():
            if grace:
                self.kill(signal.SIGTERM)
                self.over.wait(grace)
            if not self.over.is_set():
                self.kill(signal.SIGKILL)
                self.over.wait(10)

    def delete(self, grace: int) -> None:
        self.body["metadata"]["deletionTimestamp"] = now()
        self.cluster.tell(self)

        def remove() -> None:
            self.end(grace)
            self.over.set()
            self.cluster.pods.pop(self.body["metadata"]["name"], None)
            self.cluster.tell(self, "DELETED")

        threading.Thread(target=remove, daemon=True).start()

    def metrics(self) -> dict[str, Any]:
        cpu, memory = self.used
        if self.process and self.process.returncode is None:
            with contextlib.suppress(psutil.Error):
                found = psutil.Process(self.process.pid)
                cpu, memory = sum(found.cpu_times()[:2]), found.memory_info().rss
        rate = int(cpu / max(time.monotonic() - self.started, 1e-3) * 1e9)
        usage = {"cpu": f"{rate}n", "memory": f"{memory // 1024}Ki"}
        return {"containers": [{"name": self.container["name"], "usage": usage}]}


class _Handler(http.server.BaseHTTPRequestHandler):
    cluster: Cluster
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments: object) -> None:
        pass

    def handle_one_request(self) -> None:
        with contextlib.suppress(ConnectionError):
            super().handle_one_request()

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        asked = dict(urllib.parse.parse_qsl(query))
        self.cluster.requests.append(("GET", path))
        if path.endswith("/log"):
            self.stream(self.logged(path.split("/")[-2], asked))
        elif asked.get("watch"):
            self.stream(self.watched(asked))
        else:
            self.plain("GET", path, asked)

    def do_POST(self) -> None:
        self.with_body("POST")

    def do_DELETE(self) -> None:
        self.with_body("DELETE")

    def with_body(self, method: str) -> None:
        path, _, query = self.path.partition("?")
        self.cluster.requests.append((method, path))
        self.plain(method, path, dict(urllib.parse.parse_qsl(query)))

    def plain(self, method: str, path: str, query: dict[str, str]) -> None:
        content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            self.send(200, self.cluster.answer(method, path, query, json.loads(content) if content else None))
        except Refused as refused:
            self.refuse(refused)

    def refuse(self, refused: Refused) -> None:
        status, reason = refused.status, _STATUS.get(refused.status, "Unknown")
        told = {"kind": "Status", "status": "Failure", "message": str(refused), "reason": reason, "code": status}
        self.send(status, told)

    def send(self, status: int, value: Any) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def stream(self, chunks: Iterator[bytes]) -> None:
        """Send what comes, an empty piece first (headers alone) unless the call is refused."""
        try:
            next(chunks)
        except Refused as refused:
            return self.refuse(refused)
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        try:
            for chunk in chunks:
                self.chunk(chunk)
            self.chunk(b"")
        except ConnectionError:
            self.close_connection = True

    def chunk(self, content: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(content), content))
        self.wfile.flush()

    def watched(self, query: dict[str, str]) -> Iterator[bytes]:
        """Yield the events of one pod, as they come."""
        name, seen = query["fieldSelector"].removeprefix("metadata.name="), int(query.get("resourceVersion") or 0)
        pod, until = self.cluster.pods.get(name), time.monotonic() + float(query.get("timeoutSeconds", 60))
        yield b""
        while pod and time.monotonic() < until:
            with self.cluster.changed:
                events = [event for event in pod.events if event[0] > seen]
                if not events:
                    self.cluster.changed.wait(0.5)
            for version, kind, body in events:
                seen = version
                yield f'{{"type": "{kind}", "object": {body}}}\n'.encode()
                if kind == "DELETED":
                    return

    def logged(self, name: str, query: dict[str, str]) -> Iterator[bytes]:
        """Yield the lines of a pod's log, as they come."""
        pod = self.cluster.pod(name)
        if not pod.process and not pod.over.is_set():
            raise Refused(
                400, f'container "{query["container"]}" in pod "{name}" is waiting to start: ContainerCreating'
            )
        yield b""
        follow, stamped = query.get("follow") == "True", query.get("timestamps") == "True"
        since = ""
        if "sinceSeconds" in query:
            begin = datetime.datetime.now(datetime.UTC) - datetime.timedelta(seconds=int(query["sinceSeconds"]))
            since = f"{begin:%Y-%m-%dT%H:%M:%S.%f}"
        cut, told = self.cluster.cut_logs > 0, 0
        while True:
            with self.cluster.changed:
                over = pod.over.is_set()
                lines = pod.log[told:]
                if not lines and follow and not over:
                    self.cluster.changed.wait(0.5)
            for stamp, line in lines:
                told += 1
                if stamp >= since:
                    yield (stamp.encode() + b" " if stamped else b"") + line + b"\n"
                    if cut:
                        self.cluster.cut_logs -= 1
                        raise ConnectionResetError
            if (over or not follow) and told == len(pod.log):
                return


def now() -> str:
    return f"{datetime.datetime.now(datetime.UTC):%Y-%m-%dT%H:%M:%SZ}"


def resident(pid: int) -> int:
    total = 0
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(pid)
        for each in (process, *process.children(recursive=True)):
            with contextlib.suppress(psutil.Error):
                total += each.memory_info().rss
    return total


def expanded(text: str, env: dict[str, str]) -> str:
    """Replace $(NAME) by the variable if there is one, and $$ by $, as a kubelet does."""

    def one(found: re.Match[str]) -> str:
        if found[0] == "$$":
            return "$"
        return env.get(found[1], found[0])

    return re.sub(r"\$\$|\$\(([^)]*)\)", one, text)


def field(body: dict[str, Any], path: str) -> str:
    """Return what a fieldRef refers to."""
    metadata = body["metadata"]
    if found := re.fullmatch(r"metadata\.(labels|annotations)\['(.+)'\]", path):
        return str(metadata.get(found[1], {}).get(found[2], ""))
    return str({"metadata.name": metadata["name"], "metadata.namespace": metadata.get("namespace", "")}[path])


def check_model(value: Any, kind: str, place: str = "") -> None:
    """Hold a manifest to the client's generated models: every key known, every value of its type, what is required there."""
    from kubernetes import client

    model = getattr(client, kind)
    if not isinstance(value, dict):
        raise Refused(400, f"{place or kind} must be an object, got {value!r}")
    names = {key: name for name, key in model.attribute_map.items()}
    for key, inner in value.items():
        if key not in names:
            raise Refused(400, f'strict decoding error: unknown field "{place}.{key}"')
        check_type(inner, model.openapi_types[names[key]], f"{place}.{key}")
    try:
        client.ApiClient()._ApiClient__deserialize(value, model)
    except ValueError as error:
        raise Refused(422, f"{place or kind}: {error}") from None


def check_type(value: Any, kind: str, place: str) -> None:
    shapes = {"str": str, "int": int, "bool": bool, "float": (int, float), "object": object, "datetime": str}
    if found := re.fullmatch(r"list\[(.+)\]", kind):
        if not isinstance(value, list):
            raise Refused(400, f"{place} must be a list, got {value!r}")
        for index, inner in enumerate(value):
            check_type(inner, found[1], f"{place}[{index}]")
    elif found := re.fullmatch(r"dict[(\[]str, (.+)[)\]]", kind):
        if not isinstance(value, dict):
            raise Refused(400, f"{place} must be a map, got {value!r}")
        for key, inner in value.items():
            check_type(inner, found[1], f"{place}.{key}")
    elif kind in shapes:
        if not isinstance(value, shapes[kind]) or (isinstance(value, bool) and kind == "int"):
            raise Refused(400, f"{place} must be {kind}, got {value!r}")
    else:
        check_model(value, kind, place)


def check_pod(body: dict[str, Any]) -> None:
    """Hold a pod to the rules of the API server that are in no schema."""
    spec = body["spec"]
    volumes = [volume["name"] for volume in spec.get("volumes", ())]
    for name in (body["metadata"]["name"], *volumes, *(c["name"] for c in spec["containers"])):
        if not _NAME.match(name):
            raise Refused(422, f'Invalid value: "{name}": a lowercase RFC 1123 label')
    if len(set(volumes)) < len(volumes):
        raise Refused(422, "spec.volumes: Duplicate value")
    for volume in spec.get("volumes", ()):
        if len(volume) != 2:
            raise Refused(422, f"spec.volumes: {volume['name']} needs one source")
    for container in (*spec["containers"], *spec.get("initContainers", ())):
        check_container(container, volumes)
    for key, value in body["metadata"].get("labels", {}).items():
        if not re.fullmatch(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?", value):
            raise Refused(422, f"metadata.labels.{key}: Invalid value: {value}")


def check_container(container: dict[str, Any], volumes: list[str]) -> None:
    paths = [mount["mountPath"] for mount in container.get("volumeMounts", ())]
    if len(set(paths)) < len(paths):
        raise Refused(422, "volumeMounts.mountPath: must be unique")
    for mount in container.get("volumeMounts", ()):
        if mount["name"] not in volumes:
            raise Refused(422, f'volumeMounts.name: Not found: "{mount["name"]}"')
    for entry in container.get("env", ()):
        if not re.fullmatch(r"[-._a-zA-Z][-._a-zA-Z0-9]*", entry["name"]):
            raise Refused(422, f"env.name: Invalid value: {entry['name']}")
