"""The Docker engine as runs of steps need it: one connection a process, images, containers, and its failures as ours."""

from __future__ import annotations

import contextlib
import functools
import os
import signal
from collections.abc import Iterator
from typing import TYPE_CHECKING

from fleetml.errors import ConfigurationError, Unavailable
from fleetml.frozen import frozen
from fleetml.runners import Command
from fleetml.runners.container import no_program, orphaned

if TYPE_CHECKING:
    from docker.client import DockerClient
    from docker.errors import APIError
    from docker.models.containers import Container
    from docker.models.images import Image

OWNER = "fleetml.owner"  # label of every container of ours: "host pid start", the process that waits for it
_CONNECTIONS = 64  # kept open; a step holds two
_NO_PROGRAM = ("executable file not found", "no such file or directory", "permission denied", "exec format error")


@frozen
class Engine:
    """A connection, and the cores there are."""

    client: DockerClient
    cores: int


def connection() -> Engine:
    """Return this process' connection to the engine that DOCKER_HOST names, or the one of this machine. Raises Unavailable."""
    return _connected(os.getpid(), os.environ.get("DOCKER_HOST", ""))


@functools.lru_cache(maxsize=2)
def _connected(pid: int, host: str) -> Engine:
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
    sweep(client)
    return Engine(client, info["NCPU"])


def sweep(client: DockerClient) -> None:
    """Remove the containers of processes on this machine that are no more."""
    for container in client.containers.list(all=True, filters={"label": OWNER}, ignore_removed=True):
        if orphaned(container.labels[OWNER]):
            remove(container)


def image_of(engine: Engine, reference: str, local: bool) -> Image:
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
            f"image '{reference}' is not on this machine and cannot be pulled: {said(error)}; correct the name, or load it"
        ) from error


def start(container: Container, command: Command) -> None:
    """Start a container. Raises ConfigurationError where its image lacks the command, Unavailable."""
    from docker.errors import APIError

    try:
        container.start()
    except APIError as error:
        told = said(error)
        if any(words in told.lower() for words in _NO_PROGRAM):
            raise no_program(command, told) from error
        raise Unavailable(
            f"the Docker engine starts no further container: {told}; free resources and resume"
        ) from error


def kill(container: Container, number: signal.Signals) -> None:
    """Send a container a signal; it may be over."""
    from docker.errors import APIError

    with contextlib.suppress(APIError):  # it is over
        container.kill(number.name)


def remove(container: Container) -> None:
    """Remove a container, running or not; it may be gone."""
    from docker.errors import APIError

    with contextlib.suppress(APIError):  # somebody else removes it
        container.remove(force=True, v=True)


def said(error: APIError) -> str:
    """Return what the engine said, without the way it said it."""
    return str(error.explanation or error).strip()


@contextlib.contextmanager
def answers() -> Iterator[None]:
    """Whatever else the engine or the way to it says is one error of ours."""
    import requests
    from docker.errors import DockerException

    try:
        yield
    except (DockerException, requests.RequestException) as error:
        raise Unavailable(f"the Docker engine fails: {error}; see its log, and resume") from error
