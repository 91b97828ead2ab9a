"""One Airflow for all tests of this folder that want one; it starts when the first of them does."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from fleetml.settings import Settings
from fleetml.stack import airflow, processes, runs
from fleetml.stack.up import down, up
from tests.e2e.airflow_stack import Stack, project, started
from tests.e2e.fleet import ROOT, Fleet, plan_of


@pytest.fixture(scope="session")
def airflow_settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return project(tmp_path_factory.mktemp("e2e") / "a project")


@pytest.fixture(scope="session")
def running(airflow_settings: Settings) -> Iterator[Callable[[], Stack]]:
    """Give what returns the stack, started when it does not run."""
    found: list[Stack] = []

    def stack() -> Stack:
        if not found or not found[0].service.alive():
            found[:] = [started(airflow_settings)]
            found[0].wait_for_pipelines()
        return found[0]

    try:
        yield stack
    finally:
        for each in found:
            airflow.stop(each.service)
        left = processes.marked(airflow_settings.home)
        processes.sweep(airflow_settings.home)
    assert left == []


@pytest.fixture(scope="module")
def stack(running: Callable[[], Stack]) -> Stack:
    return running()


@pytest.fixture(scope="session")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    home = tmp_path_factory.mktemp("e2e") / "a home"
    variables = {"FLEETML_PROJECT": str(ROOT), "FLEETML_HOME": str(home)}
    settings = Settings.from_environment(variables)
    try:
        stack = up(settings).stack
        known = Settings.from_environment(variables)  # with the addresses of the servers
        yield Fleet(
            variables, known, runs.connect(stack), lambda name, given: runs.start(stack, known, plan_of(name), given)
        )
    finally:
        down(settings)
