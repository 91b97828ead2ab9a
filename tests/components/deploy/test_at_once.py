"""Two deploys of one model at once: one of them is served, the other is told, and nothing is left between them."""

import multiprocessing
import os
import signal
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

from components.deploy import smoke
from fleetml.errors import StepFailed, Unavailable
from fleetml.learn.windows import Windows
from fleetml.serving import audit, deployment
from fleetml.serving.client import Client
from fleetml.serving.deployment import Card
from fleetml.stack.processes import wait_until
from tests.components.deploy.test_beside import Stage


def deploy(folder: Path, train: Windows, test: Windows, path: Path, version: str, address: str) -> str:
    """Deploy from a process of its own, once told to go; return why it failed."""
    stage = Stage(folder / version, test, train)
    stage.root = folder / "serving"
    (folder / f"ready-{version}").touch()
    assert wait_until((folder / "go").exists, 120, 0.001)
    try:
        stage.deploy(path, version, "", address)
    except StepFailed as error:
        return str(error)
    return ""


def test_one_is_served_and_the_other_is_told(
    tmp_path: Path, windows: Callable[..., Windows], graph: Callable[..., Path], serve: Callable[..., str]
) -> None:
    first, root = Card("bandwidth", "1", deployment.digest(graph())), tmp_path / "serving"
    deployment.install(root, first, {deployment.GRAPH: graph()})
    deployment.point(root, "bandwidth", "1")
    address, given = serve(root), (windows(50), windows(20, seed=1))
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
        asked = {}
        for version, add in (("2", 5.0), ("3", 7.0)):
            (tmp_path / version).mkdir()
            path = graph(add=add, name=f"{version}.onnx")
            asked[version] = pool.submit(deploy, tmp_path, *given, path, version, address)
        assert wait_until(lambda: len(list(tmp_path.glob("ready-*"))) == 2, 120, 0.01)
        (tmp_path / "go").touch()
        failed = {version: why for version, future in asked.items() if (why := future.result(300))}
    served = deployment.read(root)["bandwidth"]
    assert served.version in {"2", "3"} - set(failed)
    assert served.previous in {"1", "2", "3"} - set(failed) - {served.version}
    assert all("version" in why for why in failed.values())
    with Client(address, timeout=60) as client:
        answer = client.predict_bandwidth("vm", [1.0] * 12, 5)
    assert (answer.model_version, answer.values) == (served.version, ({"2": 6.0, "3": 8.0}[served.version],))


def test_a_version_that_another_deploy_pushed_aside_is_not_waited_for(
    tmp_path: Path, graph: Callable[..., Path], serve: Callable[..., str]
) -> None:
    path, root = graph(), tmp_path / "serving"
    cards = [Card("bandwidth", version, deployment.digest(path)) for version in ("1", "2")]
    for card in reversed(cards):
        deployment.install(root, card, {deployment.GRAPH: path})
        deployment.point(root, "bandwidth", card.version)
    deployment.point(root, "bandwidth", "2")
    with pytest.raises(StepFailed, match="got version 2: another deploy came in between"):
        smoke.live(root, serve(root), cards[0], trial=None)  # type: ignore[arg-type]


def test_a_deploy_that_was_killed_before_its_test_goes_back_to_what_was_tested_before(
    tmp_path: Path, windows: Callable[..., Windows], graph: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = Stage(tmp_path, windows(20, seed=1), windows(50))
    stage.deploy(graph(), "1", "")
    killed = multiprocessing.get_context("fork").Process(target=_killed_in_its_test, args=(stage, graph(add=1.0)))
    killed.start()
    killed.join(120)
    assert (killed.exitcode, stage.served().version) == (-signal.SIGKILL, "2")
    assert _trail(stage) == [("deploy", "", "1"), ("deploy", "1", "2")]
    monkeypatch.setattr(smoke, "SWAP_SECONDS", 0.2)
    with pytest.raises(Unavailable, match="nobody answers"):
        stage.deploy(graph(add=1.0), "2", "", "127.0.0.1:1")  # what `fleetml resume` does
    assert stage.served().version == "1"
    assert _trail(stage)[2:] == [("deploy", "2", "2"), ("restore", "2", "1")]
    assert not list(stage.root.glob("rollouts/*/*"))


def _killed_in_its_test(stage: Stage, path: Path) -> None:
    smoke.live = lambda *_: os.kill(os.getpid(), signal.SIGKILL)  # type: ignore[assignment,return-value]
    stage.deploy(path, "2", "", "127.0.0.1:1")


def _trail(stage: Stage) -> list[tuple[str, str, str]]:
    return [(line["action"], line["from"], line["to"]) for line in audit.read(stage.root)]
