"""Promotion, split and rollback by the command line while clients ask a server of its own process: nobody is refused."""

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fleetml.cli import main
from fleetml.errors import FleetMLError
from fleetml.serving import deployment
from fleetml.serving.client import Client
from fleetml.serving.rollout import actions
from fleetml.settings import Settings
from fleetml.stack.processes import wait_until

CLIENTS = 4


class Load:
    """Clients that ask without a pause; `answers` by version, and what failed."""

    def __init__(self, address: str) -> None:
        self.answers: dict[str, int] = {}
        self.failed: list[str] = []
        self._address, self._end = address, threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(n,)) for n in range(CLIENTS)]

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join(60)

    def _ask(self, number: int) -> None:
        with Client(self._address, timeout=60) as client:
            asked = 0
            while not self._end.is_set():
                asked += 1
                try:
                    answer = client.predict_bandwidth(f"vm-{number}-{asked % 20}", [1.0] * 12, 5)
                    self.answers[answer.model_version] = self.answers.get(answer.model_version, 0) + 1
                except FleetMLError as error:
                    self.failed.append(str(error))

    def answered_by(self, version: str, least: int = 50) -> bool:
        """Wait until `version` has answered that often more."""
        before = self.answers.get(version, 0)
        return wait_until(lambda: self.answers.get(version, 0) >= before + least, 60, 0.02)


@pytest.fixture
def address(root: Path) -> Iterator[str]:
    command = [sys.executable, "-m", "fleetml.serving", "--dir", str(root), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout
            found = server.stdout.readline().split()[-1]
            with Client(found) as client:
                assert wait_until(client.healthy, 120, 0.05)
            yield found
        finally:
            server.terminate()


@pytest.fixture
def fleetml(project: Settings, root: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """The command line on this serving folder; its registry is down."""
    monkeypatch.setenv("FLEETML_PROJECT", str(project.project))
    monkeypatch.setenv("FLEETML_SERVING_DIR", str(root))
    monkeypatch.setenv("FLEETML_REGISTRY", "http://127.0.0.1:1")
    return lambda *words: main(list(words))


def test_no_request_fails_while_versions_change_and_the_registry_is_down(
    root: Path, address: str, fleetml: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    with Load(address) as load:
        assert load.answered_by("2")
        assert fleetml("promote", "bandwidth", "3", "--reason", "try it") == 0
        assert load.answered_by("3")
        assert fleetml("rollback", "bandwidth", "--reason", "too high") == 0
        assert load.answered_by("2")
        assert fleetml("split", "bandwidth", "3", "50%") == 0
        assert load.answered_by("3")
        assert fleetml("rollback", "bandwidth") == 0
        assert load.answered_by("2")
    assert load.failed == []
    said = capsys.readouterr()
    assert "bandwidth: rollback from 3 to 2\nversion 2 answers (after" in said.out  # within the 10 s that it waits
    assert "the registry's aliases will follow once it answers" in said.err
    assert deployment.read(root)["bandwidth"].rollout is None
    assert (root / actions.ROLLOUTS / "mend" / "bandwidth").exists()


def test_what_the_server_refuses_is_taken_back(
    root: Path, address: str, fleetml: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    (root / "models/bandwidth/3/model.onnx").write_bytes(b"no graph")
    with Load(address) as load:
        assert load.answered_by("2")
        assert fleetml("promote", "bandwidth", "3") == 1
        assert load.answered_by("2")
    assert load.failed == []
    assert set(load.answers) == {"2"}
    said = capsys.readouterr()
    assert "the server must load bandwidth 3" in said.err
    assert "bandwidth: rollback from 3 to 2" in said.out
    assert deployment.read(root)["bandwidth"].version == "2"
