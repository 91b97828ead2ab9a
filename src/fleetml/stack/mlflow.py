"""The embedded MLflow: one worker on SQLite, everything under ``<home>/registry``, on loopback only.

Clients write artifacts straight into ``<home>/registry/artifacts``: so what was registered with the server running can
be read without it (``sqlite:///…/registry/mlflow.db``), and the other way round.
"""

from __future__ import annotations

import http.client
import os
import urllib.request

from fleetml.errors import ConfigurationError
from fleetml.runners.subprocess import PASSED
from fleetml.settings import Settings
from fleetml.stack import ports, processes
from fleetml.stack.processes import Service


def start(settings: Settings, port: int) -> Service:
    """Spawn the server; the first start makes its database. Raises ConfigurationError without its venv."""
    python = settings.project / ".venv" / "ml" / "bin" / "python"
    if not python.exists():
        raise ConfigurationError(f"the stack needs {python}, which is not there; run `make setup`")
    folder = settings.home / "registry"
    artifacts = folder / "artifacts"
    artifacts.mkdir(parents=True, exist_ok=True)
    database = f"sqlite:///{folder}/mlflow.db"
    command = [str(python), "-m", "mlflow", "server", "--host", ports.HOST, "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", database, "--no-serve-artifacts", "--default-artifact-root", artifacts.as_uri()]
    own = {name: value for name in PASSED if (value := os.environ.get(name)) is not None}
    env = {
        **own,
        "PATH": f"{python.parent}{os.pathsep}{own.get('PATH', os.defpath)}",  # it starts uvicorn by name
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # 31 s of start-up and 2 GB for jobs nobody runs here
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    log = settings.home / "logs" / "mlflow.log"
    process = processes.spawn(command, home=settings.home, log=log, env=env, cwd=folder)
    return Service("mlflow", f"http://{ports.HOST}:{port}", (process,), str(log), {"database": database})


def ready(service: Service) -> bool:
    """Say whether the server answers."""
    try:
        with urllib.request.urlopen(f"{service.address}/health", timeout=2) as answer:  # noqa: S310 - our own http address
            return bool(answer.status == 200)
    except (OSError, http.client.HTTPException):
        return False


def stop(service: Service) -> None:
    """End the server and its worker."""
    for process in service.processes:
        processes.stop(process)
