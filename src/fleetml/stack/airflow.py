"""The embedded Airflow: its four processes on SQLite, everything under ``<home>/airflow``, on loopback only."""

from __future__ import annotations

import json
import os
import urllib.request
from pathlib import Path

from fleetml.errors import ConfigurationError, Unavailable
from fleetml.runners.subprocess import PASSED
from fleetml.settings import Settings
from fleetml.stack import ports, processes
from fleetml.stack.processes import Process, Service

USER = "admin"
_PASSWORDS = "simple_auth_manager_passwords.json.generated"
_MIGRATION = 120.0  # s; 5 on an idle machine


# The log servers of scheduler and triggerer listen on every interface; on one machine the API server reads the files.
COMMANDS = (
    ("api-server",),
    ("scheduler", "--skip-serve-logs"),
    ("dag-processor",),
    ("triggerer", "--skip-serve-logs"),
)


def start(settings: Settings, port: int) -> Service:
    """Migrate the database, spawn Airflow's four processes; the login exists once it is ready.

    Raises ConfigurationError without its venv, Unavailable when the database cannot be migrated.
    """
    program = settings.project / ".venv" / "orchestrator" / "bin" / "airflow"
    if not program.exists():
        raise ConfigurationError(f"the stack needs {program}, which is not there; run `make setup`")
    home = settings.home / "airflow"
    home.mkdir(parents=True, exist_ok=True)
    log = settings.home / "logs" / "airflow.log"
    env = environment(settings, home, port)

    def spawn(*command: str) -> Process:
        python = str(program.with_name("python"))  # a path with spaces is no shebang
        return processes.spawn([python, str(program), *command], home=settings.home, log=log, env=env, cwd=home)

    _finish(spawn("db", "migrate"), home, log)
    started = tuple(spawn(*command) for command in COMMANDS)
    details = {"login": USER, "password_file": str(home / _PASSWORDS), "home": str(home)}
    return Service("airflow", f"http://{ports.HOST}:{port}", started, str(log), details)


def _finish(migration: Process, home: Path, log: Path) -> None:
    if not processes.wait_until(lambda: not migration.alive(), _MIGRATION) or not (home / "airflow.db").exists():
        raise Unavailable(
            f"Airflow's database in {home} must be migrated within {_MIGRATION:.0f} s, it was not; read {log}"
        )


def environment(settings: Settings, home: Path, port: int) -> dict[str, str]:
    """Return the whole environment of the embedded Airflow, and so of the steps' operators in it."""
    base = f"http://{ports.HOST}:{port}"
    venv = settings.project / ".venv" / "orchestrator" / "bin"
    own = {name: value for name in (*PASSED, *settings.step_variables) if (value := os.environ.get(name)) is not None}
    config = {
        "CORE__DAGS_FOLDER": str(settings.project / "dags"),
        "CORE__LOAD_EXAMPLES": "False",
        "CORE__PARALLELISM": "8",
        "CORE__EXECUTION_API_SERVER_URL": f"{base}/execution/",
        "CORE__SIMPLE_AUTH_MANAGER_USERS": f"{USER}:admin",
        "DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/airflow.db",
        "API__HOST": ports.HOST,
        "API__PORT": str(port),
        "API__BASE_URL": base,
        "API__WORKERS": "1",
        "SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.2",  # of all settings the one that decides latency
        "DAG_PROCESSOR__REFRESH_INTERVAL": "10",
        "DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "10",
        "USAGE_DATA_COLLECTION__ENABLED": "False",
    }
    fleetml = {**settings.variables(), "FLEETML_STEP_VARIABLES": ",".join(settings.step_variables)}
    return {
        **own,
        **fleetml,
        **{f"AIRFLOW__{name}": value for name, value in config.items()},
        "AIRFLOW_HOME": str(home),
        "PATH": f"{venv}:/usr/local/bin:/usr/bin:/bin",
        "NO_PROXY": f"{ports.HOST},localhost",
        "no_proxy": f"{ports.HOST},localhost",
    }


def ready(service: Service) -> bool:
    """Say whether database, scheduler and DAG processor report healthy and the login exists."""
    try:
        with urllib.request.urlopen(f"{service.address}/api/v2/monitor/health", timeout=2) as answer:  # noqa: S310 - loopback
            health = json.load(answer)
        password(service)
    except (OSError, ValueError, ConfigurationError):
        return False
    parts = ("metadatabase", "scheduler", "dag_processor")
    return all((health.get(part) or {}).get("status") == "healthy" for part in parts)


def password(service: Service) -> str:
    """Return the generated password of the one user. Raises ConfigurationError while there is none."""
    place = Path(service.details["password_file"])
    try:
        return str(json.loads(place.read_text())[service.details["login"]])
    except (OSError, ValueError, KeyError) as error:
        raise ConfigurationError(f"Airflow's login stands in {place}, which cannot be read: {error}") from None


def stop(service: Service) -> None:
    """End Airflow and all it started."""
    for process in reversed(service.processes):
        processes.stop(process)
