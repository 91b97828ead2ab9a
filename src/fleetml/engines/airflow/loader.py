"""Folders of IRs as DAGs. Airflow parses the file that calls this for every task, so only the DAG asked for is built."""

from __future__ import annotations

import os
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any

from airflow.sdk import DAG, get_parsing_context

from fleetml.engines.airflow.dag import build_dag, dag_id
from fleetml.errors import FleetMLError
from fleetml.pipeline import load
from fleetml.settings import Settings
from fleetml.triggers import FILE
from fleetml.triggers import load as load_triggers


class BrokenPipeline(DAG):
    """Stands for an IR that cannot run: Airflow lists its message as an import error of that IR, other DAGs load on.

    Only what fails to serialise is listed under a file of its own; what fails earlier takes the whole DAG file down.
    """

    place = ""

    def get_serialized_fields(self) -> frozenset[str]:
        """Raise what is wrong with the IR."""
        self.relative_fileloc = self.place
        raise FleetMLError(self.description or "")


def load_dags(folder: str | Path, namespace: MutableMapping[str, Any], settings: Settings | None = None) -> None:
    """Put the DAG of each pipeline below `folder` into `namespace` (a DAG file's ``globals()``).

    A pipeline is a folder with a triggers.yaml or a pipeline.yaml, or a single IR file (.yaml, .json) in `folder`.
    """
    folder = Path(folder).absolute()
    settings = settings or Settings.from_environment(os.environ, folder)
    wanted = get_parsing_context().dag_id
    for path, triggers in _pipelines(folder):
        if wanted and wanted not in (dag_id(path.parent.name), dag_id(path.stem)) and _named(path, settings) != wanted:
            continue
        dag = _dag(path, triggers, settings)
        namespace[dag.dag_id] = dag


def _pipelines(folder: Path) -> list[tuple[Path, Path]]:
    """Return the IR and the triggers file (which may be missing) of each pipeline."""
    found = [(child / "pipeline.yaml", child / FILE) for child in sorted(folder.iterdir()) if (child / "pipeline.yaml").is_file()]
    single = [file for file in sorted(folder.iterdir()) if file.suffix in (".yaml", ".json") and file.is_file()]
    return found + [(file, file.with_name(f"{file.stem}.{FILE}")) for file in single if not file.name.endswith(FILE)]


def _named(path: Path, settings: Settings) -> str:
    try:
        return dag_id(load(path, settings.home / "ir").name)
    except FleetMLError:
        return ""


def _dag(path: Path, triggers_path: Path, settings: Settings) -> DAG:
    try:
        plan = load(path, settings.home / "ir")
        triggers = load_triggers(triggers_path, settings)
        triggers.check(plan, triggers_path)
        return build_dag(plan, path, triggers, settings)
    except FleetMLError as error:
        name = path.parent.name if path.stem == "pipeline" else path.stem
        broken = BrokenPipeline(dag_id(name), schedule=None, description=str(error))
        broken.place = str(path)
        return broken
