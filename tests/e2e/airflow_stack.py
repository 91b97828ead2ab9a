"""A real Airflow for the tests of this folder, and what they ask of it over its REST API, as a user would."""

from __future__ import annotations

import contextlib
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from fleetml.compiler import compile_pipeline
from fleetml.errors import FleetMLError
from fleetml.records import Attempt, Run
from fleetml.settings import Settings
from fleetml.stack import airflow, ports, processes
from fleetml.stack.airflow_client import AirflowClient
from fleetml.stack.processes import Service
from tests.conformance.cases import CASES, PIPELINES

REPOSITORY = Path(__file__).parents[2]
HERE = Path(__file__).parent / "airflow_pipelines"
ORCHESTRATOR = REPOSITORY / ".venv" / "orchestrator"
TABLE = """[images."fleetml/ml"]
venv = "{ml}"
locks = ["lock.txt"]

[images."fleetml/orchestrator"]
venv = "{orchestrator}"
locks = ["lock.txt"]

[images."fleetml/gone"]
venv = "gone"
locks = ["lock.txt"]

[aliases]
"python:3.1?*" = "fleetml/ml"
"""
DRIFT = "fleetml://drift/cpu"
TOKEN, PASSWORD = "t0k'en \\ of the vault", "p4ss/w\u00f6rd%of the vault"  # from the environment, from a Connection
TRIGGERS = {
    "after": "assets: [{uri: 'fleetml://double', parameters: {number: result}}]\n",
    "watch": f"emits: [{{step: condition-1/event, output: event, asset: '{DRIFT}'}}]\n",
    "react": f"assets: [{{uri: '{DRIFT}', parameters: {{drift: features}}}}]\n"
    "schedule: '0 3 * * *'\ndata_interval_end: end\ndefaults: {drift: {}}\n",
}

needs_airflow = pytest.mark.skipif(
    not (ORCHESTRATOR / "bin/airflow").exists(), reason="no .venv/orchestrator: make setup"
)


@dataclass
class Stack:
    """The running Airflow of a project whose path holds a space."""

    settings: Settings
    service: Service
    client: AirflowClient

    def path(self, pipeline: str) -> Path:
        return self.settings.project / "dags" / pipeline / "pipeline.yaml"

    def wait_for_pipelines(self) -> None:
        """Return when Airflow knows every pipeline of the project; a slow machine takes its time to parse them."""
        for folder in sorted((self.settings.project / "dags").iterdir()):
            if folder.is_dir() and folder.name != "__pycache__":
                self.client.wait_for_dag(folder.name, 300)

    def records(self, run_id: str) -> Run:
        return Run(self.settings.home, run_id)

    def run(self, pipeline: str, /, **conf: Any) -> tuple[str, dict[str, Attempt]]:
        """Run a pipeline to its end; return the id of the run and the last attempt of each step."""
        run_id = self.client.trigger(pipeline, conf)
        self.wait(pipeline, run_id)
        return run_id, self.records(run_id).latest()

    def wait(self, pipeline: str, run_id: str) -> dict[str, str]:
        """Return the states of the tasks once the run is over."""
        for _ in self.client.follow(pipeline, run_id, self.service.alive):
            pass
        return {task: str(found["state"]) for task, found in self.client.tasks(pipeline, run_id).items()}

    def log(self, pipeline: str, run_id: str, task: str, attempt: int = 1) -> str:
        return "\n".join(self.client.log(pipeline, run_id, task, attempt))

    def set_task(self, pipeline: str, run_id: str, task: str, state: str) -> None:
        self.client.call("PATCH", f"dags/{pipeline}/dagRuns/{run_id}/taskInstances/{task}", {"new_state": state})

    def clear(self, pipeline: str, run_id: str, **which: Any) -> None:
        body = {"dag_run_id": run_id, "dry_run": False, "include_downstream": True, **which}
        self.client.call("POST", f"dags/{pipeline}/clearTaskInstances", body)


def project(root: Path) -> Settings:
    """Make a project that holds the pipelines of the conformance cases and of `airflow_pipelines`."""
    (root / "images").mkdir(parents=True)
    (root / "lock.txt").write_text("nothing==1\n")
    (root / "images/images.toml").write_text(TABLE.format(ml=sys.prefix, orchestrator=ORCHESTRATOR))
    shutil.copy(HERE / "work.py", root)
    dags = root / "dags"
    for name in sorted({case.pipeline for case in CASES} | {"starts", "published"}):
        (dags / name).mkdir(parents=True)
        shutil.copy(PIPELINES / f"{name}.yaml", dags / name / "pipeline.yaml")
    for source in sorted(set(HERE.glob("*.py")) - {HERE / "parts.py", HERE / "work.py"}):
        compile_pipeline(source, dags / source.stem / "pipeline.yaml")
    for source in HERE.glob("*.yaml"):
        (dags / source.stem).mkdir()
        shutil.copy(source, dags / source.stem / "pipeline.yaml")
    for name, text in TRIGGERS.items():
        (dags / name / "triggers.yaml").write_text(text)
    for file in ("fleetml_dags.py", "fleetml_errors.py", ".airflowignore"):
        shutil.copy(REPOSITORY / "dags" / file, dags)
    shutil.copy(HERE.with_name("airflow_dags") / "team.py", dags)
    return Settings.from_environment({"FLEETML_PROJECT": str(root)})


def started(settings: Settings) -> Stack:
    with pytest.MonkeyPatch.context() as environ:
        environ.setenv("FLEETML_SECRET_VAULT_TOKEN", TOKEN)
        service = airflow.start(settings, ports.free())
    try:
        assert processes.wait_until(lambda: airflow.ready(service), 300), Path(service.log).read_text()[-3000:]
    except BaseException:
        airflow.stop(service)
        raise
    client = AirflowClient(service.address, service.details["login"], airflow.password(service))
    return Stack(settings, service, client)


def until(condition: Callable[[], Any], seconds: float = 120) -> Any:
    """Return what `condition` finds, asked until it finds something; a file or an answer not there yet is nothing."""
    found: Any = None

    def look() -> bool:
        nonlocal found
        with contextlib.suppress(OSError, FleetMLError, IndexError):
            found = condition()
        return bool(found)

    assert processes.wait_until(look, seconds), f"nothing after {seconds} s"
    return found


def lingering(stack: Stack, folder: Path) -> tuple[str, list[psutil.Process]]:
    """Start a run whose step stays; return its id and the step's two processes."""
    run_id = stack.client.trigger("lingering", {"folder": str(folder)})
    pids = until(lambda: (folder / "pids").read_text().split())
    return run_id, [psutil.Process(int(pid)) for pid in pids]


def gone(found: list[psutil.Process]) -> bool:
    return not any(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in found)
