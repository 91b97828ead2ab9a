"""`fleetml deploy` and `fleetml validate` with the stack's own server, a registry and real graphs."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import onnx
import pytest
import yaml

from fleetml.cli import main
from fleetml.deploy import smoke
from fleetml.errors import FleetMLError, StepFailed
from fleetml.serving import aliases, audit, deployment, release
from fleetml.serving.client import Client
from fleetml.settings import Settings
from fleetml.stack import up as stack
from fleetml.stack.processes import wait_until

ROOT = Path(__file__).parents[2]
HISTORY = [float(value) for value in range(12)]
DOCUMENT: dict[str, Any] = {
    "name": "fleet",
    "models": [{"name": "bandwidth"}],
    "autoscaling": {"min_replicas": 1, "max_replicas": 3},
    "alerts": [{"metric": "latency_p99", "operator": ">", "threshold": 50, "window_minutes": 5}],
}


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    """An installation of its own in this checkout; what it started is ended."""
    for name in [name for name in os.environ if name.startswith("FLEETML_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("FLEETML_PROJECT", str(ROOT))
    monkeypatch.setenv("FLEETML_HOME", str(tmp_path / "a home"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    made = Settings.from_environment()
    if not (made.project / ".venv/ml/bin/python").exists():
        pytest.skip("needs .venv/ml of the checkout (make setup)")
    yield made
    stack.down(made)


@pytest.fixture
def register(settings: Settings, graph: Callable[..., Path]) -> Callable[..., str]:
    """Return a function that registers a forecaster that adds `add` to the last value, and returns its version."""

    def add(add: float, service: str = "") -> str:
        path = graph(add=add, name=f"{add}.onnx")
        if service:
            model = onnx.load(path)
            model.metadata_props.add(key="fleetml.feature_service", value=service)
            onnx.save(model, path)
        return release.register(settings.registry, "bandwidth", path, {}, {}, {"run_id": "r"})

    return add


def write(place: Path, **changes: Any) -> str:
    place.write_text(yaml.safe_dump({**DOCUMENT, **changes}))
    return str(place)


def version(value: str) -> list[dict[str, str]]:
    return [{"name": "bandwidth", "version": value}]


def served(settings: Settings) -> tuple[str, Any]:
    said = deployment.status(settings.serving_dir)
    return said["models"]["bandwidth"]["version"], said["settings"]


def trail(settings: Settings) -> list[tuple[str, str, str]]:
    return [(line["action"], line["from"], line["to"]) for line in audit.read(settings.serving_dir)]


class Asking:
    """Asks all the time in a thread, and keeps what failed."""

    def __init__(self, address: str) -> None:
        self.failed: list[str] = []
        self.versions: list[str] = []
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._ask, args=(address,))

    def _ask(self, address: str) -> None:
        with Client(address, timeout=60) as client:
            while not self._end.is_set():
                try:
                    self.versions.append(client.predict_bandwidth("vm-1", HISTORY, 5).model_version)
                except FleetMLError as error:
                    self.failed.append(str(error))

    def __enter__(self) -> Asking:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()


def test_a_deployment_is_served_changed_under_load_killed_and_validated(
    settings: Settings, register: Callable[..., str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert [register(add) for add in (0.0, 1.0)] == ["1", "2"]
    file = write(tmp_path / "fleet.yaml")
    capsys.readouterr()
    assert main(["validate", file]) == 0
    told, going = capsys.readouterr()
    assert "not deployed here yet, no server was asked" in told
    assert going.splitlines()[:2] == ["checking bandwidth in the registry", "checking bandwidth 2 loads"]
    assert main(["deploy", file]) == 0
    told = capsys.readouterr().out
    said = deployment.status(settings.serving_dir)
    assert "bandwidth: version 2 answers" in told
    assert said["address"] in told
    assert f"http://{said['http']}" in told
    assert "settings workers 1, backend cpu, log_share 1, " in told
    assert "are logged" not in told
    assert "does nothing on this machine, only in these files: autoscaling, alerts" in told
    folder = settings.home / "deployments" / "fleet"
    names = {path.name for path in folder.iterdir()}
    assert names == {
        *("deployment.yaml", "kubernetes.yaml", "kserve.yaml", "triton", "alerts.rules.yml", "prometheus-adapter.yaml"),
    }
    kinds = [each["kind"] for each in yaml.safe_load_all((folder / "kubernetes.yaml").read_text())]
    assert kinds == ["Service", "Deployment", "PodDisruptionBudget", "HorizontalPodAutoscaler"]
    assert (folder / "triton/bandwidth/2/model.onnx").is_file()

    with Asking(said["address"]) as asking:
        assert wait_until(lambda: len(asking.versions) > 20, 60, 0.02)
        other = {"models": version("1"), "server": {"workers": 2}, "alerts": [], "autoscaling": None}
        other["prediction_log"] = {"sample_rate": 0.5}
        assert main(["deploy", write(tmp_path / "fleet.yaml", **other)]) == 0
        so_far = len(asking.versions)
        assert wait_until(lambda: len(asking.versions) > so_far + 20, 60, 0.02)
    assert "0.5 of the answers are logged, which are all that the monitor sees" in capsys.readouterr().out
    assert asking.failed == []
    assert (asking.versions[0], asking.versions[-1]) == ("2", "1")
    assert served(settings)[1]["workers"] == 2
    assert {path.name for path in folder.iterdir()} == {"deployment.yaml", "kubernetes.yaml", "kserve.yaml", "triton"}
    assert aliases.read(settings.registry, "bandwidth") == {"champion": "1", "previous": "2"}
    assert trail(settings) == [
        ("deploy", "", "2"),
        ("settings", "workers 1, log_share 1", "workers 2, log_share 0.5"),
        ("deploy", "2", "1"),
    ]

    before = deployment.status(settings.serving_dir)
    for pid in (before["pid"], *before["workers"]):
        os.kill(pid, signal.SIGKILL)
    assert wait_until(lambda: deployment.status(settings.serving_dir)["pid"] != before["pid"], 60, 0.02)
    capsys.readouterr()
    assert main(["validate", "fleet"]) == 0
    assert f"ok      bandwidth 1 is served: {before['address']} answers as the graph does" in capsys.readouterr().out
    stack.down(settings)
    assert main(["validate", "fleet"]) == 1
    assert "FAILED  bandwidth 1 is served: no server runs on" in capsys.readouterr().out


def test_what_cannot_be_served_changes_nothing(
    settings: Settings,
    register: Callable[..., str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    register(0.0)
    file = tmp_path / "fleet.yaml"
    assert main(["deploy", write(file)]) == 0
    before, kept = served(settings), (settings.home / "deployments/fleet/deployment.yaml").read_text()
    register(1.0)
    for artifact in (settings.home / "registry").rglob("model.onnx"):
        if artifact.read_bytes() != (tmp_path / "0.0.onnx").read_bytes():
            artifact.write_bytes(b"no graph")
    register(2.0, service="forecaster-unknown")

    def refuse(models: list[dict[str, str]], status: int, words: str, **changes: Any) -> None:
        capsys.readouterr()
        assert main(["deploy", write(file, models=models, **changes)]) == status
        error = capsys.readouterr().err
        assert words in error
        assert "Traceback" not in error
        assert wait_until(lambda: served(settings) == before, 60, 0.05)  # the settings are taken back, too
        assert deployment.read(settings.serving_dir)["bandwidth"].version == "1"
        assert (settings.home / "deployments/fleet/deployment.yaml").read_text() == kept
        assert [path.name for path in (settings.home / "deployments").iterdir() if path.is_dir()] == ["fleet"]

    refuse(version("9"), 2, "bandwidth has no version 9")
    refuse(version("newest"), 2, "must know what bandwidth calls 'newest', it knows the aliases: champion (3)")
    refuse(version("2"), 1, "the graph of bandwidth 2 must have SHA-256")
    meant = "models[0]: the registry"
    refuse([{"name": "bandwith"}], 2, meant)
    refuse([{"name": "bandwith"}], 2, "has no model 'bandwith', it has bandwidth; did you mean 'bandwidth'?")
    refuse(version("3"), 1, "the server must load bandwidth 3, it says", server={"workers": 2})
    assert trail(settings)[1:] == [
        ("settings", "workers 1", "workers 2"),
        ("deploy", "1", "3"),
        ("restore", "3", "1"),
        ("restore", "workers 2", "workers 1"),
    ]
    monkeypatch.setenv("FLEETML_REGISTRY", "http://127.0.0.1:1")
    refuse(version("1"), 1, "the registry must answer at http://127.0.0.1:1")
    refuse(version("champion"), 1, "the registry must answer at http://127.0.0.1:1")
    monkeypatch.delenv("FLEETML_REGISTRY")
    assert main(["validate", write(file, models=version("3"))]) == 1
    told = capsys.readouterr().out
    assert "FAILED  bandwidth 3 feature service: " in told
    assert "FAILED  bandwidth 3 is served: the server serves version 1; deploy again" in told


def test_one_that_was_killed_before_its_test_goes_back_to_what_was_tested_before(
    settings: Settings, register: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert [register(add) for add in (0.0, 1.0)] == ["1", "2"]
    assert main(["deploy", write(tmp_path / "fleet.yaml", models=version("1"))]) == 0
    second = write(tmp_path / "fleet.yaml", models=version("2"))
    killed = multiprocessing.get_context("spawn").Process(target=_killed_in_its_test, args=(second,))
    killed.start()
    killed.join(300)
    assert (killed.exitcode, served(settings)[0]) == (-signal.SIGKILL, "2")

    def differs(*_: object) -> None:
        raise StepFailed("its answer differs")

    with monkeypatch.context() as patched:
        patched.setattr(smoke, "ask", differs)
        assert main(["deploy", second]) == 1
    assert wait_until(lambda: served(settings)[0] == "1", 60, 0.05)
    assert trail(settings) == [("deploy", "", "1"), ("deploy", "1", "2"), ("deploy", "2", "2"), ("restore", "2", "1")]
    assert main(["deploy", second]) == 0
    assert not list((settings.serving_dir / "rollouts/untested").iterdir())
    with monkeypatch.context() as patched:  # what is served and tested is not taken back
        patched.setattr(smoke, "ask", differs)
        assert main(["deploy", second]) == 1
    assert served(settings)[0] == "2"


def _killed_in_its_test(file: str) -> None:
    smoke.ask = lambda *_: os.kill(os.getpid(), signal.SIGKILL)  # type: ignore[assignment,return-value]
    main(["deploy", file])


def test_an_unknown_version_makes_no_registry(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["deploy", write(tmp_path / "fleet.yaml", models=version("9"))]) == 2
    assert "error: the registry " in capsys.readouterr().err
    assert not list(settings.home.rglob("*.db"))
    assert not settings.serving_dir.exists()


def test_two_at_once_take_turns(settings: Settings, register: Callable[..., str], tmp_path: Path) -> None:
    assert [register(add) for add in (0.0, 1.0)] == ["1", "2"]
    files = [write(tmp_path / f"{number}.yaml", models=version(number)) for number in ("1", "2")]
    command = [sys.executable, "-m", "fleetml", "deploy"]
    both = [
        subprocess.Popen([*command, file], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for file in files
    ]
    said = [process.communicate(timeout=300)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert sum("waiting for another deployment" in each for each in said) == 1
    last = yaml.safe_load((settings.home / "deployments/fleet/deployment.yaml").read_text())["models"][0]["version"]
    assert served(settings)[0] == last
    assert aliases.read(settings.registry, "bandwidth")["champion"] == last
    assert [
        path.name for path in (settings.home / "deployments/fleet/triton/bandwidth").iterdir() if path.is_dir()
    ] == [last]


def test_manifests_alone_are_written_without_a_server(
    settings: Settings, register: Callable[..., str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    register(0.0)
    gpu = {"server": {"backend": "tensorrt"}, "resources": {"gpu_units": 1}}
    file, target = write(tmp_path / "fleet.yaml", **gpu), tmp_path / "out"
    assert main(["deploy", file, "--write", str(target)]) == 0
    assert "kubernetes.yaml" in capsys.readouterr().out
    assert (target / "triton/bandwidth/1/model.onnx").is_file()
    assert deployment.read(settings.serving_dir) == {}
    assert main(["deploy", file, "--write", str(target)]) == 2
    assert "--write overwrites nothing" in capsys.readouterr().err
    assert main(["deploy", file]) == 2
    assert "TensorRT" in capsys.readouterr().err
    assert main(["validate", file]) == 0
    assert "ok      bandwidth 1 on TensorRT: its parser should take it" in capsys.readouterr().out
    assert main(["validate", "nothing"]) == 2
    assert "the name of one that was made here (none), 'nothing' is no file" in capsys.readouterr().err
