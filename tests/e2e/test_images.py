"""The images of this project as they were built (`make images`): whole pipelines in them, a model served from them.

What is tested is the code in the images, which may be older than the checkout's.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from fleetml.errors import ConfigurationError, Unavailable
from fleetml.records import Run
from fleetml.runners import docker_engine
from fleetml.runners.docker import DockerRunner
from fleetml.serving.client import Client
from fleetml.stack.processes import wait_until

ROOT = Path(__file__).parents[2]
SMALL = {
    "window_days": 8,
    "horizon": 12,
    "context": 72,
    "test_windows": 3,
    "max_windows": 300,
    "automl_trials": 2,
    "nas_trials": 1,
    "hpo_trials": 1,
    "latency_budget_ms": 1000.0,
}

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module", autouse=True)
def built() -> None:
    """Skip where there is no engine, or the images were not built."""
    try:
        for name in ("fleetml/ml", "fleetml/serving"):
            DockerRunner().pin(name, True)
    except (Unavailable, ConfigurationError) as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


def run(home: Path, pipeline: str, run_id: str, **parameters: object) -> dict[str, str]:
    """Run a pipeline by command with containers; return the states of its steps."""
    given = [word for name, value in parameters.items() for word in ("-p", f"{name}={value}")]
    command = [sys.executable, "-m", "fleetml", "run", str(ROOT / pipeline), "--runner", "docker", "--workers", "2"]
    env = {**os.environ, "FLEETML_HOME": str(home), "FLEETML_PROJECT": str(ROOT)}
    ended = subprocess.run([*command, "--run-id", run_id, *given], env=env, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return {name: attempt.state for name, attempt in Run(home, run_id).latest().items()}


@pytest.mark.parametrize("pipeline", ["types", "nested", "loop"])
def test_a_small_pipeline(home: Path, pipeline: str) -> None:
    assert "succeeded" in run(home, f"tests/pipelines/{pipeline}.yaml", pipeline).values()


@pytest.fixture(scope="module")
def trained(home: Path) -> Path:
    """A model trained, registered and deployed by steps in containers."""
    states = run(home, "dags/train_forecaster", "train", **SMALL)
    assert set(states.values()) == {"succeeded"}
    return home


def test_what_containers_computed_is_a_hit_for_containers(trained: Path) -> None:
    run(trained, "dags/train_forecaster", "again", **SMALL)
    outcomes = {name: attempt.outcome for name, attempt in Run(trained, "again").latest().items()}
    computed = ("validate", "features", "automl", "nas")
    assert {name: (outcomes[name] or {})["cached"] for name in computed} == dict.fromkeys(computed, True)


@pytest.fixture
def served(trained: Path) -> Iterator[str]:
    """Serve what was deployed from the serving image; give the address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    command = ["python", "-m", "fleetml.serving", "--dir", f"{trained}/serving", "--port", address.split(":")[1]]
    container = docker_engine.connection().client.containers.run(
        "fleetml/serving",
        [*command, "--feature-store", f"{trained}/feature_store"],
        detach=True,
        network_mode="host",
        user=f"{os.getuid()}:{os.getgid()}",
        volumes={str(trained): {"bind": str(trained), "mode": "rw"}},
    )
    try:
        yield address
    finally:
        container.remove(force=True)


def test_the_serving_image_serves_it(served: str) -> None:
    with Client(served) as client:
        assert wait_until(client.healthy, 180, 0.2)  # importing Feast takes long on a busy machine
        forecast = client.predict_bandwidth("vm-0", [100.0 + n % 7 for n in range(72)], 60)
    assert len(forecast.values) == 12
    assert all(value >= 0 for value in forecast.values)


def test_the_serving_image_is_small_and_holds_no_training_library() -> None:
    client = docker_engine.connection().client
    assert client.images.get("fleetml/serving").attrs["Size"] <= 500_000_000
    lacks = ["torch", "sklearn", "xgboost", "lightgbm", "mlflow", "evidently", "kfp", "pip"]
    look = f"import importlib.util as u; print([name for name in {lacks} if u.find_spec(name)])"
    said = client.containers.run("fleetml/serving", ["python", "-c", look], remove=True, network_mode="none")
    assert said.strip() == b"[]"


@pytest.mark.parametrize("name", ["fleetml/ml", "fleetml/serving"])
def test_an_image_is_nobody_in_particular(name: str) -> None:
    said = docker_engine.connection().client.containers.run(name, ["id", "-u"], remove=True, network_mode="none")
    assert said.strip() == b"10001"


@pytest.mark.parametrize("compose", ["", "compose.yaml", "compose.tokens.yaml"])
def test_the_serving_image_tells_that_it_is_healthy(compose: str, tmp_path: Path) -> None:
    """As it is, and by the commands of compose; without a network it has a loopback of its own, and so its usual ports."""
    text = (ROOT / "docker" / compose).read_text() if compose else ""
    command = yaml.safe_load(text)["services"]["serving"]["command"] if text else None
    tokens = tmp_path / "tokens"
    tokens.write_text("t0ken-of-somebody somebody\n")
    tokens.chmod(0o644)
    container = docker_engine.connection().client.containers.run(
        "fleetml/serving",
        command,
        detach=True,
        network_mode="none",
        volumes=["/var/lib/fleetml", f"{tokens}:/run/secrets/serving-tokens:ro"],
    )

    def state() -> str:
        container.reload()
        return str(container.attrs["State"]["Health"]["Status"])

    try:
        assert wait_until(lambda: state() == "healthy", 180, 0.5), container.logs().decode()[-2000:]
    finally:
        container.remove(force=True, v=True)
