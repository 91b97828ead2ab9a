"""The model registry: versions of a model, and by alias which of them is the champion (MLflow 3).

A version is a folder that ``mlflow.onnx.load_model("models:/<name>@champion")`` loads: the graph as it was trained,
byte for byte, and ``lineage.json``. The alias ``previous`` is the champion before, for the way back.
"""

import contextlib
import json
import shutil
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fleetml import atomic
from fleetml.errors import ConfigurationError
from fleetml.serving.aliases import CHAMPION, PREVIOUS
from fleetml.serving.mlflow import Mlflow

LINEAGE = "lineage.json"
_GRAPH = "model.onnx"
_LONGEST = {"param": 6000, "tag": 5000, "description": 5000}  # characters MLflow takes
_UNKNOWN = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")  # a model; a known one's version or alias


@dataclass(frozen=True)
class Entry:
    """What is recorded of a new version. `files` (name → file) are kept beside the graph's folder.

    `lineage` is stored whole as ``lineage.json``, `tags` make it searchable on the version and its run. `description` is
    Markdown, which the registry's page shows.
    """

    graph: Path
    run_name: str
    params: Mapping[str, Any]
    metrics: Mapping[str, float]
    tags: Mapping[str, str]
    lineage: Mapping[str, Any]
    datasets: tuple[Mapping[str, Any], ...] = ()
    files: Mapping[str, Path] = field(default_factory=dict)
    description: str = ""


class Registry(Mlflow):
    """The registry at an MLflow URI. Methods raise Unavailable when it does not answer."""

    def champion(self, name: str) -> str:
        """Return the champion's version; "" when there is none, or no registry yet."""
        return self.aliases(name).get(CHAMPION, "")

    def tagged(self, name: str, tag: str, value: str) -> str:
        """Return the newest version of a model whose tag has this value; "" when there is none, or no registry yet."""
        if self._database and not self._database.exists():
            return ""
        found = self._ask(self._client.search_model_versions, f"name = '{name}'")
        return max((str(each.version) for each in found if each.tags.get(tag) == value), key=int, default="")

    def tags(self) -> list[dict[str, str]]:
        """Return the tags of every version of every model, which name what it was made of; none without a registry."""
        if self._database and not self._database.exists():
            return []
        found: list[dict[str, str]] = []
        page = None
        while True:
            versions = self._ask(self._client.search_model_versions, max_results=1000, page_token=page)
            found += [dict(version.tags) for version in versions]
            page = versions.token
            if not page:
                return found

    def tags_of(self, name: str, version: str) -> dict[str, str]:
        """Return the tags of one version. Raises ConfigurationError for one that is not known."""
        unknown = f"the registry {self.uri} must know the version, {name} has no version {version}; name another"
        if self._database and not self._database.exists():  # MLflow would make one
            raise ConfigurationError(unknown)
        from mlflow.exceptions import MlflowException

        try:
            return dict(self._ask(self._client.get_model_version, name, version).tags)
        except MlflowException as error:
            if error.error_code not in _UNKNOWN:
                raise
            raise ConfigurationError(unknown) from error

    def fetch(self, name: str, version: str, graph: Path) -> dict[str, Any]:
        """Copy a version's graph to `graph` and return its lineage."""
        found = self._ask(self._client.get_model_version, name, version)
        with tempfile.TemporaryDirectory(dir=graph.parent) as scratch:
            self._ask(_download, found.source, scratch, self.uri)
            lineage = Path(scratch) / LINEAGE
            known: dict[str, Any] = json.loads(lineage.read_text()) if lineage.exists() else {}
            shutil.move(Path(scratch) / _GRAPH, graph)
        return known

    def aliases(self, name: str) -> dict[str, str]:
        """Return version by alias; {} for a model that is not known. (`fleetml.serving.aliases` is faster over HTTP.)"""
        from mlflow.exceptions import MlflowException

        if self._database and not self._database.exists():
            return {}
        try:
            found = self._ask(self._client.get_registered_model, name).aliases
        except MlflowException as error:
            if error.error_code in _UNKNOWN:
                return {}
            raise
        return {alias: str(version) for alias, version in found.items()}

    def assign(self, name: str, wanted: Mapping[str, str]) -> None:
        """Point each alias of `wanted` at its version; "" takes it away. Raises ConfigurationError for an unknown version."""
        with self._alone():
            self._point(name, wanted)

    def add(self, name: str, entry: Entry, alias: str = CHAMPION) -> str:
        """Record a new version with its run and give it the alias; return it. A champion's predecessor is the previous one.

        A run that fails half-way is marked failed and leaves no version.
        """
        with self._alone():
            run = self._ask(self._client.create_run, self._experiment(name), run_name=entry.run_name).info
            try:
                version = self._record(name, entry, run, alias)
            except BaseException:
                with contextlib.suppress(Exception):  # what stopped us may stop this, and is what must be told
                    self._client.set_terminated(run.run_id, "FAILED")
                raise
            self._ask(self._client.set_terminated, run.run_id)
        return version

    def promote(self, name: str, version: str) -> None:
        """Give the title to `version`; who had it is the previous champion. Nothing changes where it has it already.

        Raises ConfigurationError for a version that was never registered.
        """
        with self._alone():
            self._crown(name, version)

    def demote(self, name: str, version: str) -> str:
        """Take the title from `version`: the previous champion has it again. Return the champion's version now."""
        with self._alone():
            now = self.aliases(name)
            if now.get(CHAMPION, "") != version:
                return now.get(CHAMPION, "")
            previous = now.get(PREVIOUS, "")
            self._point(name, {CHAMPION: previous} | ({PREVIOUS: ""} if previous else {}))
        return previous

    def note(
        self,
        experiment: str,
        name: str,
        figures: Mapping[str, float],
        tags: Mapping[str, str],
        files: Mapping[str, Path],
    ) -> str:
        """Record a run that makes no version: its figures, its tags, its files by name; return where it is to be seen."""
        from mlflow.entities import Metric, RunTag

        now = int(time.time() * 1000)
        with self._alone():
            run = self._ask(self._client.create_run, self._experiment(experiment), run_name=name).info
            self._ask(
                self._client.log_batch,
                run.run_id,
                metrics=[Metric(key, float(value), now, 0) for key, value in figures.items()],
                tags=[RunTag(key, value[: _LONGEST["tag"]]) for key, value in tags.items()],
            )
            for file, path in files.items():
                with tempfile.TemporaryDirectory() as scratch:
                    self._ask(self._client.log_artifact, run.run_id, shutil.copyfile(path, Path(scratch) / file))
            self._ask(self._client.set_terminated, run.run_id)
        place = f"experiments/{run.experiment_id}/runs/{run.run_id}"
        return f"{self.uri}/#/{place}" if self._database is None else f"{self.uri}: {place}"

    def _record(self, name: str, entry: Entry, run: Any, alias: str) -> str:
        tags = {key: str(value)[: _LONGEST["tag"]] for key, value in entry.tags.items()}
        self._log(run.run_id, entry, tags)
        with tempfile.TemporaryDirectory() as scratch:
            _write(Path(scratch) / "model", entry)
            for file, content in entry.files.items():
                shutil.copyfile(content, Path(scratch) / file)
            self._ask(self._client.log_artifacts, run.run_id, scratch)
        self._ensure(name)
        source = f"{run.artifact_uri}/model"
        made = self._ask(
            self._client.create_model_version,
            name,
            source,
            run.run_id,
            tags=tags,
            description=entry.description[: _LONGEST["description"]],
        )
        version = str(made.version)
        if alias == CHAMPION:
            self._crown(name, version)
        else:
            self._point(name, {alias: version})
        return version

    def _crown(self, name: str, version: str) -> None:
        before = self.aliases(name).get(CHAMPION, "")
        if before != version:
            self._point(name, {CHAMPION: version} | ({PREVIOUS: before} if before else {}))

    def _point(self, name: str, wanted: Mapping[str, str]) -> None:
        from mlflow.exceptions import MlflowException

        try:
            for alias, version in wanted.items():
                if version:
                    self._ask(self._client.set_registered_model_alias, name, alias, version)
                else:
                    self._ask(self._client.delete_registered_model_alias, name, alias)
        except MlflowException as error:
            if error.error_code not in _UNKNOWN:
                raise
            raise ConfigurationError(
                f"the registry {self.uri} must know what it calls {alias}, {name} has no version {version}; "
                "register it first"
            ) from error

    def _log(self, run_id: str, entry: Entry, tags: Mapping[str, str]) -> None:
        from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag

        now = int(time.time() * 1000)
        self._ask(
            self._client.log_batch,
            run_id,
            metrics=[Metric(key, float(value), now, 0) for key, value in entry.metrics.items()],
            params=[Param(key, str(value)[: _LONGEST["param"]]) for key, value in entry.params.items()],
            tags=[RunTag(key, value) for key, value in tags.items()],
        )
        inputs = [
            DatasetInput(
                Dataset(
                    d["name"],
                    d["sha256"][:36],
                    "local",
                    json.dumps({"uri": d["uri"]}),
                    profile=json.dumps({"rows": d["rows"]}),
                ),
                [InputTag("mlflow.data.context", d["name"])],
            )
            for d in entry.datasets
        ]
        self._ask(self._client.log_inputs, run_id, inputs)

    def _experiment(self, name: str) -> str:
        """Return the id of the model's experiment, made if need be; with SQLite artifacts lie beside the database."""
        if found := self._ask(self._client.get_experiment_by_name, name):
            return str(found.experiment_id)
        place = (self._database.parent / "artifacts").as_uri() if self._database else None
        return str(self._ask(self._client.create_experiment, name, artifact_location=place))

    def _ensure(self, name: str) -> None:
        from mlflow.exceptions import MlflowException

        try:
            self._ask(self._client.create_registered_model, name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise


def _write(folder: Path, entry: Entry) -> None:
    """Write the folder of a version: MLflow's own description, the graph's very bytes, the lineage."""
    import logging

    import mlflow.onnx
    import onnx
    import onnxruntime

    logging.getLogger("mlflow.utils.environment").setLevel(
        logging.ERROR
    )  # an environment built by uv has no pip to name
    needs = [f"onnx=={onnx.__version__}", f"onnxruntime=={onnxruntime.__version__}"]
    mlflow.onnx.save_model(
        onnx.load(entry.graph), folder, pip_requirements=needs, onnx_execution_providers=["CPUExecutionProvider"]
    )
    shutil.copyfile(entry.graph, folder / _GRAPH)
    atomic.write_json(folder / LINEAGE, entry.lineage)


def _download(source: str, folder: str, uri: str) -> None:
    from mlflow.artifacts import download_artifacts

    for name in (_GRAPH, LINEAGE):
        download_artifacts(artifact_uri=f"{source}/{name}", dst_path=folder, tracking_uri=uri)
