"""The servers of the ml environment as the stack runs them: in a home with a space, on their ports, until stopped."""

import urllib.request
from pathlib import Path
from types import ModuleType

import pytest

from fleetml.errors import ConfigurationError
from fleetml.serving.client import Client
from fleetml.serving.contract import SERVICE
from fleetml.settings import Settings
from fleetml.stack import mlflow, ports, processes, rollout, serving

ROOT = Path(__file__).parents[2]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.from_environment({"FLEETML_HOME": str(tmp_path / "a home")}, ROOT)


@pytest.mark.parametrize("server", [mlflow, rollout, serving], ids=["mlflow", "rollout", "serving"])
def test_a_server_answers_and_leaves_nothing_behind(settings: Settings, server: ModuleType) -> None:
    service = server.start(settings, ports.free())
    try:
        answered = processes.wait_until(lambda: server.ready(service) or not service.alive(), 120)
        assert answered, Path(service.log).read_text()
        assert service.alive(), Path(service.log).read_text()
        if server is serving:
            with Client(service.address) as client:
                assert client.healthy()
                assert not client.healthy(SERVICE)
        elif server is rollout:
            told = urllib.request.urlopen(f"{service.address}/metrics", timeout=30).read()
            assert b"model_rollout_look_timestamp_seconds" in told
        else:
            page = urllib.request.urlopen(f"{service.address}/", timeout=30).read()
            assert b"MLflow" in page
    finally:
        server.stop(service)
    assert not server.ready(service)
    assert processes.marked(settings.home) == []
    server.stop(service)  # no error when it is gone


@pytest.mark.parametrize("server", [mlflow, rollout, serving], ids=["mlflow", "rollout", "serving"])
def test_without_its_environment_make_setup_is_named(project: Settings, server: ModuleType) -> None:
    with pytest.raises(ConfigurationError, match="run `make setup`"):
        server.start(project, 1)
