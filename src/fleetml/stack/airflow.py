"""The embedded Airflow: its three processes on SQLite, everything under ``<home>/airflow``, on loopback only."""

from __future__ import annotations

import json
import os
import secrets
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from fleetml import atomic
from fleetml.errors import ConfigurationError, FleetMLError, Unavailable
from fleetml.images import Image, Images
from fleetml.runners.subprocess import PASSED
from fleetml.settings import Settings
from fleetml.stack import ports, processes
from fleetml.stack.airflow_client import AirflowClient
from fleetml.stack.processes import Process, Service

USER = "admin"
_PASSWORDS = "simple_auth_manager_passwords.json.generated"
_MIGRATION = 120.0  # s; 5 on an idle machine
_STOPPING = 10.0  # s for active runs to stop their steps and write their records

# What the steps' operators read themselves: settings, secrets, the artifact store's credentials, where events go.
_READ = ("FLEETML_", "AWS_", "OPENLINEAGE", "OTEL_")

# No triggerer: no task of ours defers, and it takes 12 s to end. The scheduler's log server would listen on every
# interface; on one machine the API server reads the files.
# Each has its folder of plugins, which it imports when it starts.
_HERE = Path(__file__).parent
COMMANDS = (
    (("api-server",), _HERE / "airflow_plugins"),
    (("scheduler", "--skip-serve-logs"), _HERE / "airflow_scheduler"),
    (("dag-processor",), _HERE / "airflow_scheduler"),
)


def start(settings: Settings, port: int) -> Service:
    """Migrate the database where that is needed, spawn Airflow's three processes.

    Raises ConfigurationError without its environment, Unavailable when the database cannot be migrated.
    """
    image = Images(settings.project).resolve("fleetml/orchestrator")
    home = settings.home / "airflow"
    home.mkdir(mode=0o700, parents=True, exist_ok=True)  # the login and Airflow's keys stand in it
    log = settings.home / "logs" / "airflow.log"
    env = environment(settings, image, home, port)
    airflow = [str(image.python), str(image.venv / "bin" / "airflow")]  # a path with spaces is no shebang

    def spawn(*command: str, **more: str) -> Process:
        return processes.spawn(command, home=settings.home, log=log, env={**env, **more}, cwd=home)

    _write_password(home / _PASSWORDS)
    done = home / f"migrated-{image.lock_digest[:16]}"
    if not done.exists():
        if not any(home.glob("migrated-*")):
            (home / "airflow.db").unlink(missing_ok=True)  # a first migration that was cut off cannot be gone on with
        migration = spawn("sh", "-c", '"$@" && touch "$0"', str(done), *airflow, "db", "migrate")
        if not processes.wait_until(lambda: not migration.alive(), _MIGRATION) or not done.exists():
            raise Unavailable(f"Airflow's database in {home} could not be migrated; its reason stands in {log}")
    started = tuple(
        spawn(*airflow, *command, AIRFLOW__CORE__PLUGINS_FOLDER=str(plugins)) for command, plugins in COMMANDS
    )
    details = {"login": USER, "password_file": str(home / _PASSWORDS), "home": str(home)}
    return Service("airflow", f"http://{ports.HOST}:{port}", started, str(log), details)


def _write_password(place: Path) -> None:
    """Choose the login once; Airflow would print the one that it generates into its log."""
    if not place.exists():
        atomic.write_json(place, {USER: secrets.token_urlsafe(12)})


def environment(settings: Settings, image: Image, home: Path, port: int) -> dict[str, str]:
    """Return the whole environment of the embedded Airflow, and so of the steps' operators in it."""
    base = f"http://{ports.HOST}:{port}"
    wanted = {*PASSED, *settings.step_variables}
    own = {name: value for name, value in os.environ.items() if name in wanted or name.startswith(_READ)}
    config = {
        "CORE__DAGS_FOLDER": str(settings.project / "dags"),
        "CORE__LOAD_EXAMPLES": "False",
        "CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",  # schedules count from the first start: the monitor watches
        "CORE__PARALLELISM": "8",
        "CORE__EXECUTION_API_SERVER_URL": f"{base}/execution/",
        "CORE__SIMPLE_AUTH_MANAGER_USERS": f"{USER}:admin",
        # A busy machine keeps a writer waiting: after 5 s, which is the default, the scheduler would end.
        "DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/airflow.db?timeout=60",
        "API__HOST": ports.HOST,
        "API__PORT": str(port),
        "API__BASE_URL": base,
        "API__WORKERS": "1",
        "SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.2",  # of all settings the one that decides latency
        "WORKERS__MIN_HEARTBEAT_INTERVAL": "2",  # how soon a task learns that it was cleared or marked failed
        "SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "30",  # a run whose machine died ends, and the next can start
        "DAG_PROCESSOR__REFRESH_INTERVAL": "60",  # DAG files of a team's own that are new
        "DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "10",
        "USAGE_DATA_COLLECTION__ENABLED": "False",
    }
    fleetml = {**settings.variables(), "FLEETML_STEP_VARIABLES": ",".join(settings.step_variables)}
    return {
        **own,
        **fleetml,
        **{f"AIRFLOW__{name}": value for name, value in config.items()},
        "AIRFLOW_HOME": str(home),
        "PATH": f"{image.venv / 'bin'}:/usr/local/bin:/usr/bin:/bin",
        "NO_PROXY": f"{ports.HOST},localhost",
        "no_proxy": f"{ports.HOST},localhost",
    }


def ready(service: Service) -> bool:
    """Say whether database, scheduler and DAG processor report healthy, tasks are answered, and the login exists.

    At the first call of a task the API server builds all versions of that API, and answers nobody meanwhile: 5 s of
    processor time, which a busy machine stretches to a minute. It is called here, so that they are part of the start.
    """
    try:
        with urllib.request.urlopen(f"{service.address}/execution/health", timeout=2):  # noqa: S310 - loopback
            pass
        with urllib.request.urlopen(f"{service.address}/api/v2/monitor/health", timeout=2) as answer:  # noqa: S310
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
    """End Airflow and all it started; runs that are active end as failed, for nothing would go on with them."""
    if service.alive():
        _fail_active_runs(service)
    with ThreadPoolExecutor(len(service.processes) or 1) as pool:
        list(pool.map(processes.stop, service.processes))


def _fail_active_runs(service: Service) -> None:
    try:
        client = AirflowClient(service.address, service.details["login"], password(service))
        client.fail_active()
        processes.wait_until(lambda: not client.active(), _STOPPING)
    except FleetMLError:
        return  # it does not answer any more: its processes are ended all the same
