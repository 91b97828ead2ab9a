"""The embedded model server: ``python -m fleetml.serving`` on ``<home>/serving``, on loopback only."""

from __future__ import annotations

import os

from fleetml.errors import ConfigurationError
from fleetml.runners.subprocess import PASSED
from fleetml.serving.settings import FILE
from fleetml.settings import Settings
from fleetml.stack import ports, processes
from fleetml.stack.processes import Service


def start(settings: Settings, port: int) -> Service:
    """Spawn the server; it serves what is deployed, now or later. Raises ConfigurationError without its venv."""
    python = settings.project / ".venv" / "ml" / "bin" / "python"
    if not python.exists():
        raise ConfigurationError(f"the stack needs {python}, which is not there; run `make setup`")
    command = [str(python), "-m", "fleetml.serving", "--host", ports.HOST, "--port", str(port)]
    command += ["--dir", str(settings.serving_dir), "--feature-store", str(settings.feature_store)]
    command += ["--settings", str(settings.serving_dir / FILE)]  # what fleetml deploy asks for
    command += ["--textfiles", str(settings.home / "metrics")]
    own = {name: value for name in PASSED if (value := os.environ.get(name)) is not None}
    log = settings.home / "logs" / "serving.log"
    process = processes.spawn(
        command,
        home=settings.home,
        log=log,
        env={**own, "PYTHONUNBUFFERED": "1"},
        cwd=settings.project,  # feature_repo is imported from the project's root
    )
    return Service("serving", f"{ports.HOST}:{port}", (process,), str(log), {"folder": str(settings.serving_dir)})


def ready(service: Service) -> bool:
    """Say whether the server answers and has loaded what was deployed before."""
    from fleetml.serving.client import Client

    with Client(service.address, timeout=2) as client:
        return client.healthy()


def stop(service: Service) -> None:
    """End the server; it answers what it was asked before and writes its prediction log."""
    for process in service.processes:
        processes.stop(process)
