"""Runs a step in a container of a Docker engine, by the engine's official SDK."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fleetml.cost import meters
from fleetml.errors import ConfigurationError, Unavailable
from fleetml.frozen import frozen
from fleetml.runners import Command, Ended, Exit, Limits, Usage, accelerators, cgroup
from fleetml.runners.container import no_program, owner, status_of, variables
from fleetml.runners.docker_engine import OWNER, Engine, answers, connection, image_of, kill, remove, said, start
from fleetml.runners.output import Reader, lines_of

if TYPE_CHECKING:
    from docker.models.containers import Container

_IMAGE = "fleetml.image"  # label: the name in the IR
# What a container gets of our own environment: the rest is its image's affair, or may hold secrets.
_PASSED = ("TZ", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy")
_LOOK = 0.05  # s between looks at cancel and limits; the end of the container itself is noticed at once
_PATIENCE = (
    60.0  # s for a container that was killed to be gone, and until the engine is asked again about one that goes on
)
_INIT_SAYS = "[FATAL tini"  # its last line where it cannot start the command


@frozen
class DockerRunner:
    """One container per step, on the host's network, as the user who runs us, with the step's folders at their own paths.

    `mounts` are further folders it may read and write, made if need be; `passed` names variables of our environment that steps get
    beside proxies and time zone; `grace` [s] is for a step that is stopped. `cpus` and `memory` of `Limits` are the
    container's hard limits. `Usage` is sampled: the last moment before the end is not in it.

    A container is removed only after its state was read, so its exit status is always the true one; those of a
    process of ours that died are removed by the next one on this machine. The status of a signal n comes as 128 + n, as the engine tells
    it: one that a program chose itself looks the same.
    """

    mounts: tuple[Path, ...] = ()
    passed: tuple[str, ...] = ()
    grace: float = 5.0

    def pin(self, reference: str, local: bool) -> str:
        """See `fleetml.images.Pin`; what is not on this machine is pulled, unless the reference tells its digest."""
        if "@sha256:" in reference:
            return reference.rpartition("@")[2]
        with answers():
            return str(image_of(connection(), reference, local).id)

    def run(self, command: Command, on_line: Callable[[str], None], cancel: threading.Event) -> Exit:
        """See `fleetml.runners.Runner`."""
        started = time.monotonic()
        with answers(), self._container(connection(), command) as container:
            stream = container.attach(stdout=True, stderr=True, stream=True, demux=True)
            reader = Reader(lines_of(stream), on_line)
            start(container, command)
            container.reload()
            watch = _Watch(container, reader, self.grace)
            ended = watch.until_over(command.limits, cancel)
            reader.finish()
            container.reload()
            state = container.attrs["State"]
        if reader.error:
            raise reader.error
        if state["ExitCode"] in (126, 127) and reader.last.startswith(_INIT_SAYS):
            raise no_program(command, reader.last)
        if ended == "itself" and state["OOMKilled"] and state["ExitCode"]:
            ended = "memory"
        usage = Usage(watch.cpu_seconds, watch.peak, time.monotonic() - started, **watch.drawn())
        return Exit(status_of(state["ExitCode"]), usage, ended)

    @contextlib.contextmanager
    def _container(self, engine: Engine, command: Command) -> Iterator[Container]:
        """Create the command's container; whatever happens, it is gone afterwards."""
        container = self._create(engine, command)
        try:
            yield container
        finally:
            remove(container)

    def _create(self, engine: Engine, command: Command) -> Container:
        from docker.errors import APIError, ImageNotFound

        options = self._options(engine, command)
        reference = command.image.reference or command.image.name
        image = reference if "@" in reference else command.image.digest or reference
        for path in self.mounts:
            path.mkdir(parents=True, exist_ok=True)
        try:
            return engine.client.containers.create(image, **options)
        except ImageNotFound:
            found = image_of(engine, reference, local="@" not in reference)
            return engine.client.containers.create(found.id, **options)
        except APIError as error:
            if error.is_client_error():
                raise ConfigurationError(
                    f"the Docker engine refuses a container of '{command.image.name}': {said(error)}; "
                    "correct the step's limits, command or environment"
                ) from error
            raise

    def _options(self, engine: Engine, command: Command) -> dict[str, Any]:
        from docker.types import DeviceRequest, LogConfig

        gpus = accelerators.require(command.resources, "the step")
        argv = list(command.argv)
        limits = command.limits
        return {
            **({"command": argv} if command.own_entry else {"entrypoint": argv}),
            "environment": self._environment(command),
            "user": f"{os.getuid()}:{os.getgid()}",
            "network_mode": "host",
            "mounts": self._mounts(command),
            "labels": {OWNER: owner(), _IMAGE: command.image.name},
            "log_config": LogConfig(type="none"),  # the step's log is ours; a second one would only fill the disk
            "healthcheck": {"test": ["NONE"]},  # a step is no server, whatever its image is
            "init": True,  # so that a command is not PID 1, which ignores signals
            "security_opt": ["no-new-privileges"],
            # More cores than there are is no limit, and the engine would refuse it.
            "nano_cpus": int(min(limits.cpus, engine.cores) * 1e9) if limits.cpus else None,
            "mem_limit": limits.memory,
            "memswap_limit": limits.memory,
            "device_requests": [DeviceRequest(count=gpus, capabilities=[["gpu"]])] if gpus else None,
        }

    def _environment(self, command: Command) -> dict[str, str]:
        return {**variables(command, (*_PASSED, *self.passed)), **command.env, **command.secrets}

    def _mounts(self, command: Command) -> list[Any]:
        from docker.types import Mount

        writable = {*command.writable, *self.mounts}
        readable = {path for path in command.readable if not any(path.is_relative_to(root) for root in writable)}
        modes = {**dict.fromkeys(readable, True), **dict.fromkeys(writable, False)}
        return [Mount(str(path), str(path), type="bind", read_only=mode) for path, mode in sorted(modes.items())]


@dataclass
class _Watch:
    """Follows a container until it is over; `cpu_seconds` and `peak` [bytes] are what was seen of its use."""

    container: Container
    reader: Reader
    grace: float
    cpu_seconds: float = 0.0
    peak: int = 0
    _over: threading.Event = field(default_factory=threading.Event)
    _lost: Exception | None = None
    _meter: meters.Meter | None = None

    def drawn(self) -> dict[str, Any]:
        """Return what meters say of the container, where it was on this machine."""
        return self._meter.drawn(self.cpu_seconds) if self._meter else {}

    def until_over(self, limits: Limits, cancel: threading.Event) -> Ended:
        """Return who ended it; stops it on a cancel, at its time limit, or when its output cannot be taken any more.

        Raises Unavailable when the engine is lost meanwhile.
        """
        for work in (self._await_end, self._measure):
            threading.Thread(target=work, daemon=True).start()
        ended = self._until_over(limits, cancel)
        if not self._over.is_set() or self._lost:
            raise Unavailable(
                f"the Docker engine must answer until a step is over, of container {self.container.short_id} it told no "
                f"end ({self._lost or 'it was killed'}); see whether the engine runs, and resume"
            )
        return ended

    def _until_over(self, limits: Limits, cancel: threading.Event) -> Ended:
        started = time.monotonic()
        while not self._over.wait(_LOOK):
            if cancel.is_set() or self.reader.error:
                return self._stop("cancelled")
            if limits.seconds is not None and time.monotonic() - started > limits.seconds:
                return self._stop("timeout")
        return "itself"

    def _await_end(self) -> None:
        """Wait for the end; ask anew now and then, for a connection may fall silent, and an engine too."""
        from requests import ConnectionError, ReadTimeout

        try:
            running = True
            while running:
                try:
                    self.container.wait(timeout=_PATIENCE)
                    running = False
                except (ReadTimeout, ConnectionError):
                    self.container.reload()
                    running = bool(self.container.attrs["State"]["Running"])
        except Exception as error:
            self._lost = error
        self._over.set()

    def _stop(self, why: Ended) -> Ended:
        for number, patience in ((signal.SIGTERM, self.grace), (signal.SIGKILL, _PATIENCE)):
            kill(self.container, number)
            if self._over.wait(patience):
                break
        return why

    def _measure(self) -> None:
        """Sample what the container uses, from the kernel where the engine is on this machine, else from the engine."""
        pid = self.container.attrs["State"]["Pid"]
        use = cgroup.of(pid)
        if use is None:
            use = self._told
        else:
            self._meter = meters.Meter(lambda: meters.family(pid))
        looked = time.monotonic()
        with contextlib.suppress(Exception):  # it is just gone, or the engine is an old one
            while not self._over.is_set():
                cpu_seconds, memory = use()
                self.cpu_seconds, self.peak = max(self.cpu_seconds, cpu_seconds), max(self.peak, memory)
                if self._meter and time.monotonic() - looked >= 1:
                    looked = time.monotonic()
                    self._meter.look()
                self._over.wait(_LOOK)

    def _told(self) -> tuple[float, int]:
        """Return CPU seconds and bytes of memory without page cache; the engine takes a second for every answer."""
        stats = self.container.client.api.stats(self.container.id, stream=False, one_shot=True)
        memory, kinds = stats["memory_stats"], stats["memory_stats"].get("stats", {})
        cache = kinds.get("total_inactive_file", kinds.get("inactive_file", 0))  # cgroup v1, v2
        return stats["cpu_stats"]["cpu_usage"]["total_usage"] / 1e9, memory.get("usage", 0) - cache
