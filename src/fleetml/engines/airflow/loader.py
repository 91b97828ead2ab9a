"""Folders of IRs as DAGs. Airflow parses the calling file again for every task: only the DAG asked for is built."""

from __future__ import annotations

import re
from collections.abc import Iterator, MutableMapping
from pathlib import Path
from typing import Any

from airflow.sdk import DAG, get_parsing_context

from fleetml.engines.airflow.dag import PipelineDag
from fleetml.engines.airflow.source import dag_id, read, settings_of
from fleetml.errors import ConfigurationError, FleetMLError, InvalidPipeline
from fleetml.pipeline import document
from fleetml.settings import Settings
from fleetml.triggers import FILE
from fleetml.triggers import load as load_triggers


class BrokenPipeline(DAG):
    """Stands for an IR that cannot run: Airflow lists its message as an import error of that IR, other DAGs load on.

    Only what fails to serialise is listed under a file of its own; what fails earlier takes the whole DAG file down.
    When it lists the DAG folder anew (``refresh_interval``), Airflow forgets errors of files it does not parse; the
    next parse tells them again. Errors that stay need a file of their own that it parses: `check_dags`.
    """

    place = ""

    def get_serialized_fields(self) -> frozenset[str]:
        """Raise what is wrong with the IR: as Airflow's own kind of error, which it passes on without a second one."""
        from airflow.exceptions import SerializationError

        self.relative_fileloc = self.place
        raise SerializationError(self.description or "")


def load_dags(
    folder: str | Path, namespace: MutableMapping[str, Any], settings: Settings | None = None, *, errors: bool = True
) -> None:
    """Put the DAG of each pipeline in `folder` into `namespace` (a DAG file's ``globals()``).

    A pipeline is a sub-folder with a triggers.yaml or a pipeline.yaml, or an IR (.yaml, .json) in `folder` itself,
    whose triggers may stand in ``<name>.triggers.yaml``. An IR that cannot run is an import error of its own; without
    `errors` it is left out, for another DAG file that calls `check_dags` to tell.
    Outside a project (see `Settings.from_environment`) they load all the same, and a step tells what it lacks to run.
    Where `folder` itself is the project, records and results are below Airflow's home. Raises ConfigurationError when `folder` is missing.
    """
    wanted = get_parsing_context().dag_id
    for dag in _dags(Path(folder).absolute(), settings, wanted):
        if errors or not isinstance(dag, BrokenPipeline):
            namespace[dag.dag_id] = dag
        if dag.dag_id == wanted:
            break  # a task reads no further


def check_dags(folder: str | Path, settings: Settings | None = None) -> None:
    """Raise InvalidPipeline with a line for each pipeline in `folder` that `load_dags` cannot make a DAG of.

    In a DAG file of its own that is an import error which stands as long as one of them is broken: Airflow would take the DAGs
    of a file with an import error for stale, and forgets errors of files it does not parse.
    """
    broken = [dag for dag in _dags(Path(folder).absolute(), settings, None) if isinstance(dag, BrokenPipeline)]
    if broken:
        told = "\n".join(" ".join((dag.description or "").split()) for dag in broken)
        raise InvalidPipeline(f"of the pipelines in {folder} {len(broken)} cannot run:\n{told}")


def _dags(folder: Path, settings: Settings | None, wanted: str | None) -> Iterator[DAG]:
    """Yield the DAG of each pipeline, a BrokenPipeline for one that cannot run; if one is `wanted`, none of the others that can."""
    if not folder.is_dir():
        raise ConfigurationError(f"pipelines are loaded from a folder, {folder} is none; correct the DAG file")
    settings = settings or settings_of(folder)
    places: dict[str, Path] = {}
    for place, triggers_file in _pipelines(folder):
        dag = _dag(place, triggers_file, settings, wanted)
        if dag is None:
            continue
        if (taken := places.setdefault(dag.dag_id, place)) != place:
            message = f"{place}: a pipeline's name is its DAG's id, '{dag.dag_id}' is that of {taken} too; rename one"
            dag = _broken(place, message)
        yield dag


def _pipelines(folder: Path) -> Iterator[tuple[Path, Path]]:
    """Yield the place (a folder, or an IR file) and the triggers file (which may be missing) of each pipeline."""
    for child in sorted(folder.iterdir()):
        if child.is_dir():
            if (child / FILE).is_file() or (child / "pipeline.yaml").is_file():
                yield child, child / FILE
        elif child.suffix in (".yaml", ".yml", ".json") and not child.name.endswith(FILE) and _is_ir(child):
            yield child, child.with_name(f"{child.stem}.{FILE}")


def _is_ir(file: Path) -> bool:
    """Say whether a file in a team's DAG folder is meant as an IR, sound or not; one that cannot be read may be."""
    try:
        return b"pipelineInfo" in file.read_bytes()
    except OSError:
        return True


def _dag(place: Path, triggers_file: Path, settings: Settings, wanted: str | None) -> DAG | None:
    """Return the pipeline's DAG, None if another one is wanted."""
    try:
        triggers = load_triggers(triggers_file, settings)
        path = place / triggers.pipeline if place.is_dir() else place
        if wanted and dag_id(_name(path, settings)) != wanted:
            return None
        return PipelineDag(pipeline=read(path, triggers, triggers_file, settings))
    except FleetMLError as error:
        return _broken(place, str(error))
    except Exception as error:  # Airflow refuses a name, a parameter, a URI: that is this pipeline's affair alone
        return _broken(place, f"{place}: Airflow cannot take it as a DAG: {type(error).__name__}: {error}")


def _name(path: Path, settings: Settings) -> str:
    """Return a pipeline's name without expanding it."""
    info = document.read(path, settings.home / "ir").get("pipelineInfo")
    return str(info.get("name", "")) if isinstance(info, dict) else ""


def _broken(place: Path, message: str) -> BrokenPipeline:
    name = re.sub(r"[^A-Za-z0-9_.-]", "_", f"broken-{place.stem}")
    dag = BrokenPipeline(dag_id(name), schedule=None, description=message)
    dag.place = str(place)
    return dag
