"""The scheduler's plugin: what tasks import is there before the executor forks the processes that run them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from fleetml.stack import airflow

# A job of Airflow asks its listeners when it is made; only then does a scheduler start its executor.
_TOLD = """
import json, sys
from airflow.listeners.listener import get_listener_manager
from airflow import plugins_manager
before = set(sys.modules)
get_listener_manager()
print(json.dumps([sorted(set(sys.modules) - before), plugins_manager.get_import_errors()]))
"""


def test_the_scheduler_has_imported_what_a_task_needs_before_it_starts_its_executor(tmp_path: Path) -> None:
    (folder,) = {plugins for command, plugins in airflow.COMMANDS if command[0] == "scheduler"}
    env = {**os.environ, "AIRFLOW_HOME": str(tmp_path), "AIRFLOW__CORE__PLUGINS_FOLDER": str(folder)}
    done = subprocess.run([sys.executable, "-c", _TOLD], env=env, capture_output=True, text=True, check=True)
    loaded, errors = json.loads(done.stdout.splitlines()[-1])
    assert not errors
    assert {
        "fleetml.engines.airflow.operators",
        "fleetml.engines.airflow.recording",
        "fleetml.step.attempt",
        "fleetml.runners.subprocess",
    } <= set(loaded)
