"""A version that is tried beside the served one: begun once it answers, with a running server and without."""

from collections.abc import Callable
from pathlib import Path

import pytest

from components.deploy import beside, smoke
from components.deploy import deploy as stage
from fleetml.component import Artifact
from fleetml.errors import InvalidParameter, StepFailed, Unavailable
from fleetml.learn.windows import Windows
from fleetml.serving import aliases, audit, deployment
from fleetml.serving.client import Client
from fleetml.serving.registry import Entry, Registry


class Stage:
    """The deploy step with its inputs in one folder."""

    def __init__(self, folder: Path, test: Windows, train: Windows) -> None:
        self.folder, self.root = folder, folder / "serving"
        self.metrics = Artifact("metrics", str(folder / "metrics"))
        self.root.mkdir()
        test.save(folder / "test.parquet")
        train.save(folder / "train.parquet")

    def deploy(self, graph: Path, version: str, rollout: str, address: str = "", registry: str = "") -> None:
        stage.deploy(
            model=Artifact("model", str(graph)),
            test=Artifact("test", str(self.folder / "test.parquet")),
            train=Artifact("train", str(self.folder / "train.parquet")),
            metrics=self.metrics,
            model_name="bandwidth",
            version=version,
            serving_dir=str(self.root),
            address=address,
            registry=registry,
            rollout=rollout,
        )

    def served(self) -> deployment.Deployed:
        return deployment.read(self.root)["bandwidth"]


@pytest.fixture
def step(tmp_path: Path, windows: Callable[..., Windows]) -> Stage:
    return Stage(tmp_path, windows(20, seed=1), windows(50))


def test_the_first_version_is_served_at_once_the_next_is_tried(step: Stage, graph: Callable[..., Path]) -> None:
    step.deploy(graph(), "1", "canary")
    assert (step.served().version, step.served().rollout) == ("1", None)
    step.deploy(graph(add=5), "2", "canary")
    now = step.served()
    assert now.rollout is not None
    assert (now.version, now.rollout.version, now.rollout.mode, now.rollout.share) == ("1", "2", "canary", 0.05)
    assert [line["action"] for line in audit.read(step.root)] == ["deploy", "begin"]
    assert step.metrics.metadata["rollout"] == "canary"


def test_a_running_server_has_loaded_it_when_the_step_ends(
    step: Stage, graph: Callable[..., Path], serve: Callable[..., str]
) -> None:
    step.deploy(graph(), "1", "")
    address = serve(step.root)
    step.deploy(graph(add=5), "2", "ab", address)
    with Client(address) as client:
        asked = {client.predict_bandwidth(f"vm-{n}", [1.0] * 12, 5).model_version for n in range(40)}
    assert asked == {"1", "2"}


def test_the_aliases_follow(step: Stage, graph: Callable[..., Path]) -> None:
    registry = f"sqlite:///{step.folder}/registry/mlflow.db"
    known = Registry(registry)
    for version, alias in (("1", aliases.CHAMPION), ("2", aliases.CHALLENGER)):
        path = graph(add=float(version))
        assert known.add("bandwidth", Entry(path, "run", {}, {}, {}, {}), alias) == version
        step.deploy(path, version, "shadow", registry=registry)
        assert (
            known.aliases("bandwidth") == {"1": {"champion": "1"}, "2": {"champion": "1", "challenger": "2"}}[version]
        )
    assert step.served().rollout is not None
    broken = step.folder / "broken.onnx"
    broken.write_bytes(b"no graph")
    known.add("bandwidth", Entry(graph(add=9), "run", {}, {}, {}, {}), aliases.CHALLENGER)
    with pytest.raises(Exception, match=r"onnx|ONNX"):
        step.deploy(broken, "3", "shadow", registry=registry)
    assert known.aliases("bandwidth") == {"champion": "1", "challenger": "2"}  # what is tried is still tried


def test_a_server_that_does_not_load_it_ends_the_rollout(
    step: Stage, graph: Callable[..., Path], serve: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    step.deploy(graph(), "1", "")
    address = serve(step.root)

    def spoil(*_: object) -> dict[str, float]:
        (step.root / "models/bandwidth/2/model.onnx").write_bytes(b"spoiled after its own test")
        return {}

    with monkeypatch.context() as patched:
        patched.setattr(smoke, "alone", spoil)
        with pytest.raises(StepFailed, match="the server must load what it is to try"):
            step.deploy(graph(add=5), "2", "canary", address)
    assert (step.served().version, step.served().rollout) == ("1", None)
    assert [line["action"] for line in audit.read(step.root)] == ["deploy", "begin", "rollback"]


def test_a_server_that_does_not_look_ends_the_rollout(
    step: Stage, graph: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    step.deploy(graph(), "1", "")
    monkeypatch.setattr(smoke, "SWAP_SECONDS", 0.2)
    with pytest.raises(Unavailable, match="must look at"):
        step.deploy(graph(add=5), "2", "canary", "127.0.0.1:1")
    assert step.served().rollout is None


def test_another_mode_is_refused(step: Stage, graph: Callable[..., Path]) -> None:
    step.deploy(graph(), "1", "")
    with pytest.raises(InvalidParameter, match="one of canary, ab, shadow"):
        step.deploy(graph(add=5), "2", "boldly")
    assert set(beside.SHARES) == set(deployment.MODES)
