"""What tests of several parts share: projects with one image, small forecasters and windows, a model server."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from fleetml.settings import Settings

if TYPE_CHECKING:
    from fleetml.learn.windows import Meta, Windows
    from fleetml.serving.options import Access
    from tests.cluster import Cluster
    from tests.containers import Containers

IMAGE_TABLE = """[images."fleetml/ml"]
venv = "{venv}"
locks = ["lock.txt"]
code = ["shared.py"]

[aliases]
"python:3.1?*" = "fleetml/ml"
"""


@pytest.fixture
def project(tmp_path: Path) -> Settings:
    """Return the settings of an empty project whose path holds a space."""
    root = tmp_path / "a project"
    (root / "images").mkdir(parents=True)
    (root / "lock.txt").write_text("nothing==1\n")
    (root / "shared.py").write_text("")
    (root / "images/images.toml").write_text(IMAGE_TABLE.format(venv=sys.prefix))
    return Settings.from_environment({"FLEETML_PROJECT": str(root)})


@pytest.fixture
def stage(project: Settings) -> Callable[[str], str]:
    """Return a function that writes the code of a stage into the project and returns its module's name."""

    def write(code: str) -> str:
        folder = project.project / "components" / "stage"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "work.py").write_text(code)
        return "components.stage.work"

    return write


@pytest.fixture(scope="session")
def containers() -> Iterator[Containers]:
    """What it takes to run steps in containers; skips where no Docker engine answers."""
    from tests.containers import containers

    with containers() as found:
        yield found


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """A stand-in for a Kubernetes cluster, which KUBECONFIG leads to; skips without the client."""
    pytest.importorskip("kubernetes")
    from tests.cluster import Cluster

    with Cluster() as running:
        monkeypatch.setenv("KUBECONFIG", str(running.kubeconfig(tmp_path)))
        yield running


@pytest.fixture
def meta() -> Meta:
    """Short windows with one covariate."""
    from tests.small_graphs import META

    return META


@pytest.fixture
def graph(tmp_path: Path, meta: Meta) -> Callable[..., Path]:
    """Return a function that writes a forecaster: the last value, plus `add`, plus the covariates there are."""
    from tests.small_graphs import forecaster

    def write(add: float = 0.0, meta: Meta = meta, name: str = "graph.onnx") -> Path:
        path = tmp_path / name
        path.write_bytes(forecaster(meta, add))
        return path

    return write


@pytest.fixture
def windows(meta: Meta) -> Callable[..., Windows]:
    """Return a function that makes `count` windows of ten VMs, whose levels lie far apart."""
    import numpy as np

    from fleetml.learn.windows import Windows

    def make(count: int = 40, meta: Meta = meta, seed: int = 0, factor: float = 1.0) -> Windows:
        random = np.random.default_rng(seed)
        vm = np.arange(count) % 10
        level = 10.0 ** (1 + vm / 3)[:, None] * factor
        values = (level * random.lognormal(0, 0.3, (count, meta.context + meta.horizon))).astype(np.float32)
        return Windows(
            vm_id=np.array([f"vm-{number}" for number in vm]),
            origin=np.datetime64("2026-01-01", "us") + np.arange(count) * np.timedelta64(meta.step_seconds, "s"),
            history=values[:, : meta.context],
            covariates=random.uniform(20, 40, (count, len(meta.covariates))).astype(np.float32),
            target=values[:, meta.context :],
            scale=(level[:, 0] / 4).astype(np.float32),
            meta=meta,
        )

    return make


@pytest.fixture
def certificate(tmp_path: Path) -> Access:
    """A certificate for 127.0.0.1, signed by itself."""
    import shutil
    import subprocess

    from fleetml.serving.options import Access

    if not shutil.which("openssl"):
        pytest.skip("needs openssl to make a certificate")
    key, made = tmp_path / "key.pem", tmp_path / "certificate.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    names = ["-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"]
    subprocess.run([*command, *names, "-keyout", str(key), "-out", str(made)], check=True, capture_output=True)
    return Access(made, key)


@pytest.fixture
def serve() -> Iterator[Callable[..., str]]:
    """Return a function that runs a model server on a serving folder and returns its address once it is ready.

    `meanwhile` is called with the address as soon as the server listens.
    """
    from fleetml.serving.client import Client
    from fleetml.serving.options import Options
    from fleetml.serving.server import running
    from fleetml.stack.processes import wait_until

    ends: list[Callable[[], None]] = []

    def start(root: Path, meanwhile: Callable[[str], None] = lambda address: None, **options: Any) -> str:
        started: Future[str] = Future()

        async def run() -> None:
            end, loop = asyncio.Event(), asyncio.get_running_loop()
            try:
                async with running(Options(root, port=0, **options)) as address:
                    ends.append(lambda: loop.call_soon_threadsafe(end.set))
                    started.set_result(address)
                    await end.wait()
            except Exception as error:
                started.set_exception(error)

        thread = threading.Thread(target=lambda: asyncio.run(run()))
        thread.start()
        address = started.result(60)
        meanwhile(address)
        access = options.get("access")
        with Client(address, trusted=access.certificate if access else None) as client:
            assert wait_until(client.healthy, 180, 0.02)  # importing Feast takes long on a busy machine
        end = ends.pop()
        ends.append(lambda: (end(), thread.join(60)))
        return address

    yield start
    for end in ends:
        end()
