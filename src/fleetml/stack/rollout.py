"""The embedded rollout controller: ``python -m fleetml.serving.rollout`` on ``<home>/serving``; its port tells its metrics."""

from __future__ import annotations

import http.client
import os
import urllib.request

from fleetml.errors import ConfigurationError
from fleetml.runners.subprocess import PASSED
from fleetml.serving import webhook
from fleetml.settings import Settings
from fleetml.stack import ports, processes
from fleetml.stack.processes import Service


def start(settings: Settings, port: int) -> Service:
    """Spawn it; it goes on with the rollouts that it finds under way. Raises ConfigurationError without its venv, or for a webhook that is none."""
    python = settings.project / ".venv" / "ml" / "bin" / "python"
    if not python.exists():
        raise ConfigurationError(f"the stack needs {python}, which is not there; run `make setup`")
    command = [str(python), "-m", "fleetml.serving.rollout", "--dir", str(settings.serving_dir)]
    command += ["--registry", settings.registry, "--host", ports.HOST, "--port", str(port)]
    command += ["--figures", str(settings.home / "metrics" / "runs.prom")]
    own = {name: value for name in PASSED if (value := os.environ.get(name)) is not None}
    if settings.alert_webhook:
        webhook.require(settings.alert_webhook)
        own["FLEETML_ALERT_WEBHOOK"] = settings.alert_webhook  # no argument: those are there for all to see
    log = settings.home / "logs" / "rollout.log"
    process = processes.spawn(command, home=settings.home, log=log, env=own, cwd=settings.project)
    return Service(
        "rollout", f"http://{ports.HOST}:{port}", (process,), str(log), {"folder": str(settings.serving_dir)}
    )


def ready(service: Service) -> bool:
    """Say whether it answers."""
    try:
        with urllib.request.urlopen(f"{service.address}/metrics", timeout=2) as answer:  # noqa: S310 - our own http address
            return bool(answer.status == 200)
    except (OSError, http.client.HTTPException):
        return False


def stop(service: Service) -> None:
    """End it; what it was about to do it does after the next start."""
    for process in service.processes:
        processes.stop(process)
