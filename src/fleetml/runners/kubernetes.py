"""Runs a step as a pod of a Kubernetes cluster, by the official client."""

from __future__ import annotations

import contextlib
import functools
import json
import signal
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import field
from pathlib import Path
from typing import Any

from fleetml.frozen import frozen
from fleetml.pipeline.platform import OPERATIONS
from fleetml.runners import Command, Exit, Usage
from fleetml.runners.cluster import OURS, OWNER, ask, core_of
from fleetml.runners.container import owner, variables
from fleetml.runners.output import Reader
from fleetml.runners.pod import FEATURES, Place, by_digest, claim, manifest
from fleetml.runners.pod_life import Life


@frozen
class KubernetesRunner:
    """One pod per step at `place`, as the user who runs us, with the step's folders at their own paths.

    `mounts` are further folders it may read and write, made if need be; `passed` names variables of our environment
    that steps get, in the clear in the pod; `grace` [s] is for a step that is stopped; `patience` [s] for a pod to start. Secrets are
    referred to, never sent. `Usage` is what the cluster's metrics server tells, if it has one: short steps are not in it.

    A pod is deleted only after its end was seen, so its exit status is always the true one. The status of a signal n comes
    as 128 + n, as the cluster tells it: one that a program chose itself looks the same. Pods of a process of ours that died
    are deleted by the next one on the same machine.
    """

    place: Place = field(default_factory=Place)
    mounts: tuple[Path, ...] = ()
    passed: tuple[str, ...] = ()
    grace: float = 5.0
    patience: float = 600.0

    honours = FEATURES | {*OPERATIONS.values()}
    refers_to_secrets = True

    def pin(self, reference: str, local: bool) -> str:
        """See `fleetml.images.Pin`. No cluster is asked."""
        if reference in OPERATIONS:
            return ""  # no container: the cluster does it itself
        return by_digest("" if local else reference, f"image '{reference}'").rpartition("@")[2]

    def run(self, command: Command, on_line: Callable[[str], None], cancel: threading.Event) -> Exit:
        """See `fleetml.runners.Runner`."""
        started = time.monotonic()
        if operation := next((name for name in OPERATIONS.values() if name in command.platform), ""):
            self._operate(operation, json.loads(command.argv[-1]), on_line)
            return Exit(0, Usage(wall_seconds=time.monotonic() - started))
        with self._pod(command) as pod:
            if not pod.started(cancel, self.patience, on_line):
                pod.stop()
                return Exit(-signal.SIGKILL, Usage(wall_seconds=time.monotonic() - started), "cancelled")
            reader = Reader(pod.lines(), on_line)
            ended = pod.until_over(cancel, reader)
            reader.finish()
            status, ended = pod.exit(ended, command)
        if reader.error:
            raise reader.error
        return Exit(status, Usage(pod.cpu_seconds, pod.peak, time.monotonic() - started), ended)

    @contextlib.contextmanager
    def _pod(self, command: Command) -> Iterator[Life]:
        """Create the command's pod; whatever happens, it is gone afterwards."""
        name = f"fleetml-{uuid.uuid4().hex[:16]}"
        body = manifest(command, name, self.place, self.grace, self.mounts, variables(command, self.passed))
        body["metadata"].setdefault("labels", {}).update(OURS)
        body["metadata"].setdefault("annotations", {})[OWNER] = owner()
        for path in self.mounts:
            path.mkdir(parents=True, exist_ok=True)
        core = core_of(self.place.namespace)
        ask(functools.partial(core.create_namespaced_pod, self.place.namespace, body), made=True)
        pod = Life(core, name, self.place.namespace, self.grace)
        try:
            pod.watch()
            yield pod
        finally:
            pod.remove()

    def _operate(self, operation: str, executor_input: dict[str, Any], on_line: Callable[[str], None]) -> None:
        """Make or remove a volume claim, as the component's parameters say."""
        parameters, namespace = executor_input["inputs"]["parameterValues"], self.place.namespace
        core = core_of(namespace)
        if operation == "deletePvc":
            name = parameters["pvc_name"]
            ask(functools.partial(core.delete_namespaced_persistent_volume_claim, name, namespace), gone=True)
            on_line(f"fleetml: the volume claim {name} is deleted")
            return
        name = parameters.get("pvc_name") or f"{uuid.uuid4()}{parameters.get('pvc_name_suffix') or ''}"
        body = claim(parameters, name, namespace)
        ask(functools.partial(core.create_namespaced_persistent_volume_claim, namespace, body))
        on_line(f"fleetml: the volume claim {name} is made")
        place = Path(executor_input["outputs"]["parameters"]["name"]["outputFile"])
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(name)
