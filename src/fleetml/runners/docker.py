"""Runs a step in a container of a Docker engine, by the engine's official SDK."""

from __future__ import annotations

import contextlib
import functools
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
from fleetml.runners.container import no_program, orphaned, owner, status_of, variables
from fleetml.runners.output import Reader, lines_of

if TYPE_CHECKING:
    from docker.client import DockerClient
    from docker.errors import APIError
    from docker.models.containers import Container
    from docker.models.images import Image

OWNER = "fleetml.owner"  # label of every container of ours: "host pid start", the process that waits for it
_IMAGE = "fleetml.image"  # label: the name in the IR
# What a container gets of our own environment: the rest is its image's affair, or may hold secrets.
_PASSED = ("TZ", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy")
_LOOK = 0.05  # s between looks at cancel and limits; the end of the container itself is noticed at once
_PATIENCE = (
    60.0  # s for a container that was killed to be gone, and until the engine is asked again about one that goes on
)
_CONNECTIONS = 64  # kept open; a step holds two
_INIT_SAYS = "[FATAL tini"  # its last line where it cannot start the command
_NO_PROGRAM = ("executable file not found", "no such file or directory", "permission denied", "exec format error")


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
        with _engine_s_answers():
            return str(_image(_engine(), reference, local).id)

    def run(self, command: Command, on_line: Callable[[str], None], cancel: threading.Event) -> Exit:
        """See `fleetml.runners.Runner`."""
        started = time.monotonic()
        with _engine_s_answers(), self._container(_engine(), command) as container:
            stream = container.attach(stdout=True, stderr=True, stream=True, demux=True)
            reader = Reader(lines_of(stream), on_line)
            _start(container, command)
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
    def _container(self, engine: _Engine, command: Command) -> Iterator[Container]:
        """Create the command's container; whatever happens, it is gone afterwards."""
        container = self._create(engine, command)
        try:
            yield container
        finally:
            _remove(container)

    def _create(self, engine: _Engine, command: Command) -> Container:
        from docker.errors import APIError, ImageNotFound

        options = self._options(engine, command)
        reference = command.image.reference or command.image.name
        image = reference if "@" in reference else command.image.digest or reference
        for path in self.mounts:
            path.mkdir(parents=True, exist_ok=True)
        try:
            return engine.client.containers.create(image, **options)
        except ImageNotFound:
            found = _image(engine, reference, local="@" not in reference)
            return engine.client.containers.create(found.id, **options)
        except APIError as error:
            if error.is_client_error():
                raise ConfigurationError(
                    f"the Docker engine refuses a container of '{command.image.name}': {_said(error)}; "
                    "correct the step's limits, command or environment"
                ) from error
            raise

    def _options(self, engine: _Engine, command: Command) -> dict[str, Any]:
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
            _kill(self.container, number)
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


@frozen
class _Engine:
    """A connection, and the cores there are."""

    client: DockerClient
    cores: int


def connect() -> DockerClient:
    """Return the connection to the engine that DOCKER_HOST names, or the one of this machine. Raises Unavailable."""
    return _engine().client


def _engine() -> _Engine:
    return _connected(os.getpid(), os.environ.get("DOCKER_HOST", ""))


@functools.lru_cache(maxsize=2)
def _connected(pid: int, host: str) -> _Engine:
    """Connect once per process (a fork must not share sockets), and remove what dead processes left."""
    from docker.client import DockerClient
    from docker.errors import DockerException

    try:
        client = DockerClient.from_env(max_pool_size=_CONNECTIONS)
        info = client.info()
    except DockerException as error:
        raise Unavailable(
            f"the docker runner needs a Docker engine, none answers at {host or 'its default socket'}: {error}; "
            "start one, set DOCKER_HOST, or take --runner subprocess"
        ) from error
    _sweep(client)
    return _Engine(client, info["NCPU"])


def _sweep(client: DockerClient) -> None:
    """Remove the containers of processes on this machine that are no more."""
    for container in client.containers.list(all=True, filters={"label": OWNER}, ignore_removed=True):
        if orphaned(container.labels[OWNER]):
            _remove(container)


def _image(engine: _Engine, reference: str, local: bool) -> Image:
    """Return an image, pulled if need be. Raises ConfigurationError where it is not to be had."""
    from docker.errors import APIError, ImageNotFound

    with contextlib.suppress(ImageNotFound):
        return engine.client.images.get(reference)
    if local:
        raise ConfigurationError(
            f"image '{reference}' is not on this machine, and stands in images/images.toml without registry and digest; "
            "build it with `make images`, or push it and add both"
        )
    try:
        return engine.client.images.pull(reference)
    except APIError as error:
        raise ConfigurationError(
            f"image '{reference}' is not on this machine and cannot be pulled: {_said(error)}; correct the name, or load it"
        ) from error


def _start(container: Container, command: Command) -> None:
    from docker.errors import APIError

    try:
        container.start()
    except APIError as error:
        said = _said(error)
        if any(words in said.lower() for words in _NO_PROGRAM):
            raise no_program(command, said) from error
        raise Unavailable(
            f"the Docker engine starts no further container: {said}; free resources and resume"
        ) from error


def _kill(container: Container, number: signal.Signals) -> None:
    from docker.errors import APIError

    with contextlib.suppress(APIError):  # it is over
        container.kill(number.name)


def _remove(container: Container) -> None:
    from docker.errors import APIError

    with contextlib.suppress(APIError):  # somebody else removes it
        container.remove(force=True, v=True)


def _said(error: APIError) -> str:
    return str(error.explanation or error).strip()


@contextlib.contextmanager
def _engine_s_answers() -> Iterator[None]:
    """Whatever else the engine or the way to it says is one error of ours."""
    import requests
    from docker.errors import DockerException

    try:
        yield
    except (DockerException, requests.RequestException) as error:
        raise Unavailable(f"the Docker engine fails: {error}; see its log, and resume") from error
