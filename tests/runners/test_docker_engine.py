"""The Docker engine: what is left behind is removed, and what it says is told as an error of ours."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from docker.errors import APIError, ImageNotFound

from fleetml.errors import ConfigurationError, Unavailable
from fleetml.frozen import replace
from fleetml.images import Image, Images
from fleetml.runners import Command, choice, container, docker_engine
from fleetml.runners.docker_engine import OWNER
from fleetml.settings import Settings
from tests.containers import Containers


def test_what_a_process_that_is_no_more_left_running_is_removed(containers: Containers) -> None:
    client = docker_engine.connection().client
    host, pid, start = container.owner().split()
    gone = {f"{host} {2**22 + 1} {start}", f"{host} {pid} earlier/1"}
    alive = {f"other {pid} {start}", container.owner()}
    for owner in gone | alive:
        client.containers.create(containers.reference, entrypoint=["true"], labels={OWNER: owner})
    try:
        docker_engine.sweep(client)
        found = client.containers.list(all=True, filters={"label": OWNER}, ignore_removed=True)
        assert {each.labels[OWNER] for each in found} & (gone | alive) == alive
    finally:
        for each in client.containers.list(all=True, filters={"label": OWNER}, ignore_removed=True):
            if each.labels[OWNER] in gone | alive:
                each.remove()


def test_no_engine_is_said_with_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, project: Settings) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    runner = choice.choose(replace(project, runner="docker"))
    for call in (
        lambda: choice.images(project, runner).resolve("fleetml/ml"),
        lambda: runner.run(Command(("true",), Images(project.project).resolve("fleetml/ml")), print, threading.Event()),
    ):
        with pytest.raises(Unavailable, match=r"none\.sock.*start one, set DOCKER_HOST, or take --runner subprocess"):
            call()


def refusing(error: Exception) -> Callable[..., Any]:
    def refuse(*_: Any, **__: Any) -> Any:
        raise error

    return refuse


@pytest.mark.parametrize(
    ("said", "error", "told"),
    [
        ("exec: nope: executable file not found", ConfigurationError, "image 'i' has no program 'nope'"),
        ("no space left", Unavailable, "starts no further container: no space left; free resources"),
    ],
)
def test_why_a_container_does_not_start_is_told(said: str, error: type[Exception], told: str) -> None:
    one: Any = SimpleNamespace(start=refusing(APIError("HTTP 400", explanation=said)))
    with pytest.raises(error, match=told):
        docker_engine.start(one, Command(("nope",), Image("i", Path())))


@pytest.mark.parametrize(
    ("local", "told"), [(True, "build it with `make images`"), (False, "cannot be pulled: denied")]
)
def test_an_image_that_is_not_to_be_had_is_told(local: bool, told: str) -> None:
    images = SimpleNamespace(get=refusing(ImageNotFound("none")), pull=refusing(APIError("x", explanation="denied")))
    engine: Any = SimpleNamespace(client=SimpleNamespace(images=images))
    with pytest.raises(ConfigurationError, match=told):
        docker_engine.image_of(engine, "fleetml/ml", local)


def test_whatever_else_goes_wrong_with_the_engine_is_one_error() -> None:
    with pytest.raises(Unavailable, match="the Docker engine fails: lost; see its log"), docker_engine.answers():
        raise APIError("lost")
