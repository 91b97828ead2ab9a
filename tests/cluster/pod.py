"""One pod: its command runs as a process of this machine, and its life is told as a kubelet tells it."""

from __future__ import annotations

import contextlib
import datetime
import os
import re
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

if TYPE_CHECKING:
    from tests.cluster import Cluster


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
