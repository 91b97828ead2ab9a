"""A pod while it goes on: what its cluster tells of it, its log, its end."""

from __future__ import annotations

import contextlib
import functools
import math
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fleetml.errors import ConfigurationError, Unavailable
from fleetml.runners import Command, Ended
from fleetml.runners.cluster import ANSWER, ask
from fleetml.runners.container import no_program, status_of
from fleetml.runners.output import Reader, lines_of
from fleetml.runners.pod import CONTAINER

if TYPE_CHECKING:
    from kubernetes.client import CoreV1Api, V1ContainerState, V1ContainerStateTerminated, V1Pod

_LOOK = 0.05  # s between looks at cancel; what happens to the pod is told by the cluster at once
_SETTLED = 5.0  # s that a pod may take to say why its container ended
_PATIENCE = 60.0  # s without an answer of the cluster, and for a pod that was deleted to be gone
_SILENCE = (10, 300)  # s until a log that says nothing is asked for again
_BREATH = 0.5  # s until a connection that broke is tried again
_SAMPLE = 15.0  # s between samples of its use; a metrics server takes them as seldom
_METRICS = (2, 5)  # s for an answer of the metrics server
# What a container waits for that will not come: its image, or what it refers to.
_HOPELESS = ("InvalidImageName", "ErrImageNeverPull", "CreateContainerConfigError", "CreateContainerError")
_NO_IMAGE = ("ErrImagePull", "ImagePullBackOff")
_PASSING = (
    "rate limit",
    "too many requests",
    "exceeded",
    "timeout",
    "unavailable",
    "gateway",
)  # a registry's bad moments
_NO_PROGRAM = ("StartError", "ContainerCannotRun", "RunContainerError")
_STAMPED = re.compile(rb"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+\S*) (.*)", re.DOTALL)  # a line of a log


@dataclass
class Life:
    """One pod from its creation to its end; `cpu_seconds` and `peak` [bytes] are what was seen of its use."""

    core: CoreV1Api
    name: str
    namespace: str
    grace: float
    cpu_seconds: float = 0.0
    peak: int = 0
    _told: V1Pod | None = None  # what the cluster said last
    _gone: bool = False
    _silent: float = 0.0  # since when the cluster does not answer, monotonic
    _changed: threading.Condition = field(default_factory=threading.Condition)
    _done: threading.Event = field(default_factory=threading.Event)
    _sampled: float = field(default_factory=time.monotonic)

    def watch(self) -> None:
        """Begin to follow what the cluster tells of it."""
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        from kubernetes.watch import Watch

        told = {
            "field_selector": f"metadata.name={self.name}",
            "timeout_seconds": _SILENCE[1],
            "_request_timeout": _SILENCE,
        }
        while not self._done.is_set() and not self._gone:
            try:
                pod = self._read()
                self._take(pod, gone=pod is None)
                version = pod.metadata.resource_version if pod else None
                for event in Watch().stream(
                    self.core.list_namespaced_pod, self.namespace, resource_version=version, **told
                ):
                    self._take(event["object"], gone=event["type"] == "DELETED")
                    if self._done.is_set() or self._gone:
                        break
            except Exception:  # whatever it is: the cluster is asked again until patience ends
                with self._changed:
                    self._silent = self._silent or time.monotonic()
                self._done.wait(_BREATH)

    def _read(self) -> V1Pod | None:
        from kubernetes.client import ApiException

        try:
            return self.core.read_namespaced_pod(self.name, self.namespace, _request_timeout=ANSWER)
        except ApiException as error:
            if error.status == 404:
                return None
            raise

    def _take(self, pod: V1Pod | None, gone: bool) -> None:
        with self._changed:
            self._told, self._gone, self._silent = pod or self._told, gone, 0.0
            self._changed.notify_all()

    def started(self, cancel: threading.Event, patience: float, on_line: Callable[[str], None]) -> bool:
        """Wait until its container was started, or it is over; return whether that came before a cancel.

        `on_line` is told once what it waits for. Raises ConfigurationError where it cannot start, Unavailable where it
        does not.
        """
        began, told = time.monotonic(), ""
        while not cancel.is_set():
            self._require_answers()
            if self._container() or self._over():
                return True
            waits = self._waits_for()
            if waits and waits != told and not told:
                told = waits
                on_line(f"fleetml: the pod {self.name} waits: {waits}")
            if time.monotonic() - began > patience:
                raise Unavailable(
                    f"a pod must start within {patience:.0f} s, {self.name} does not: {waits or 'the cluster tells no reason'}; "
                    "free or add resources in the cluster and resume"
                )
            self._pause()
        return False

    def until_over(self, cancel: threading.Event, reader: Reader) -> Ended:
        """Return who ended it; stops it on a cancel, or when its output cannot be taken any more."""
        ended_at = 0.0
        while not self._over():
            self._require_answers()
            if cancel.is_set() or reader.error:
                self.stop()
                return "cancelled"
            if self._terminated():
                ended_at = ended_at or time.monotonic()
                if time.monotonic() - ended_at > _SETTLED:  # something beside it goes on
                    break
            elif time.monotonic() - self._sampled > _SAMPLE:
                self._sample()
            self._pause()
        self._sample()
        return "itself"

    def stop(self) -> None:
        """Delete it with its grace, and wait until it is gone."""
        self._delete(math.ceil(self.grace))
        until = time.monotonic() + self.grace + _PATIENCE
        while not self._gone and time.monotonic() < until:
            self._pause()

    def remove(self) -> None:
        """Delete it if it is still there, at once."""
        if not self._gone:
            with contextlib.suppress(Unavailable, ConfigurationError):
                self._delete(0)
        self._done.set()

    def exit(self, ended: Ended, command: Command) -> tuple[int, Ended]:
        """Return the status and who ended it. Raises ConfigurationError for a program that is not there, Unavailable
        where the cluster took the pod away."""
        found, pod = self._terminated(), self._told
        status = status_of(found.exit_code) if found else -signal.SIGKILL
        if ended != "itself":
            return status, ended
        reason = pod.status.reason if pod else ""
        if reason == "DeadlineExceeded":
            return status, "timeout"
        deleted = pod is None or bool(pod.metadata.deletion_timestamp and status)
        if found is None or reason or deleted:
            said = f"{reason}: {pod.status.message}" if pod and reason else "somebody deleted it"
            raise Unavailable(f"a pod must be left until its end, the cluster took {self.name} away ({said}); resume")
        if found.reason in _NO_PROGRAM:
            raise no_program(command, found.message or found.reason)
        return status, "memory" if found.reason == "OOMKilled" and status else "itself"

    def lines(self) -> Iterator[bytes]:
        """Yield the lines of its log until it has ended, each once, however often the connection breaks."""
        seen, seen_at, tries = b"", time.monotonic(), 3
        while tries and not self._done.is_set():
            last = self._over() or self._terminated() is not None  # asked for after its end, the log is whole
            skip, wanted = seen, True
            since = math.ceil(time.monotonic() - seen_at) + 5 if seen else None
            with contextlib.suppress(Exception):  # the connection broke, or the log is not there yet
                pieces = lines_of((chunk, None) for chunk in self._log(since))
                for raw in (raw for piece in pieces for raw in piece.removesuffix(b"\n").split(b"\n")):
                    if found := _STAMPED.fullmatch(raw):  # else it goes on with a line that is too long for one piece
                        wanted = found[1] > skip
                    if wanted:
                        seen, seen_at = found[1] if found else seen, time.monotonic()
                        yield found[2] if found else raw
                if last:
                    return
            tries -= last
            self._pause(_BREATH)

    def _log(self, seconds: int | None) -> Iterator[bytes]:
        since = {"since_seconds": seconds} if seconds else {}
        response = self.core.read_namespaced_pod_log(
            self.name,
            self.namespace,
            container=CONTAINER,
            follow=True,
            timestamps=True,  # of one width, so that they sort as texts
            _preload_content=False,
            _request_timeout=_SILENCE,
            **since,
        )
        try:
            yield from response.stream(2**16)
        finally:
            response.release_conn()

    def _container(self) -> V1ContainerState | None:
        """Return the state of the step's container, None before it was started."""
        for status in (self._told and self._told.status.container_statuses) or ():
            if status.name == CONTAINER and (status.state.running or status.state.terminated):
                return status.state
        return None

    def _terminated(self) -> V1ContainerStateTerminated | None:
        state = self._container()
        return state.terminated if state else None

    def _over(self) -> bool:
        return self._gone or (self._told is not None and self._told.status.phase in ("Succeeded", "Failed"))

    def _require_answers(self) -> None:
        if self._silent and time.monotonic() - self._silent > _PATIENCE:
            raise Unavailable(
                f"a cluster must answer until a step is over, it tells nothing of {self.name} any more; see to it and resume"
            )

    def _waits_for(self) -> str:
        """Return what it waits for, as far as the cluster tells. Raises ConfigurationError where that will not come."""
        status = self._told.status if self._told else None
        if status is None:
            return ""
        for each in (*(status.init_container_statuses or ()), *(status.container_statuses or ())):
            waiting = each.state.waiting
            said = f"{waiting.reason}: {waiting.message or ''}" if waiting else ""
            passing = any(words in said.lower() for words in _PASSING)
            if waiting and (waiting.reason in _HOPELESS or (waiting.reason in _NO_IMAGE and not passing)):
                raise ConfigurationError(
                    f"a pod must have its image and what it refers to, '{each.name}' ({each.image}) cannot start: {said}; "
                    "correct the image or the step's settings, or make what is missing"
                )
            if waiting and waiting.reason in _NO_IMAGE:
                return said
        scheduled = [each for each in status.conditions or () if each.type == "PodScheduled" and each.status != "True"]
        return f"{scheduled[0].reason}: {scheduled[0].message}" if scheduled else ""

    def _pause(self, longest: float = _LOOK) -> None:
        """Wait until the cluster tells something, `longest` [s] at most."""
        with self._changed:
            self._changed.wait(longest)

    def _delete(self, grace: int) -> None:
        delete = functools.partial(self.core.delete_namespaced_pod, self.name, self.namespace)
        ask(functools.partial(delete, grace_period_seconds=grace), gone=True)

    def _sample(self) -> None:
        """Take in what it uses now (cores, bytes)."""
        from kubernetes.client import CustomObjectsApi
        from kubernetes.utils.quantity import parse_quantity

        now = time.monotonic()
        with contextlib.suppress(Exception):  # the cluster has no metrics server, or that no sample
            found = CustomObjectsApi(self.core.api_client).get_namespaced_custom_object(
                "metrics.k8s.io", "v1beta1", self.namespace, "pods", self.name, _request_timeout=_METRICS
            )
            (usage,) = [each["usage"] for each in found["containers"] if each["name"] == CONTAINER]
            self.cpu_seconds += float(parse_quantity(usage["cpu"])) * (now - self._sampled)
            self.peak = max(self.peak, int(parse_quantity(usage["memory"])))
        self._sampled = now
