"""Models registered and deployed from Python, on the registry and the serving folder of this installation."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fleetml.errors import ConfigurationError, InvalidData, InvalidParameter
from fleetml.frozen import frozen
from fleetml.serving.release import LABEL, Deployment, register, serve
from fleetml.settings import Settings
from fleetml.workflow import grammar
from fleetml.workflow.grammar import InvalidWorkflow
from fleetml.workflow.runs import RunResult

_MODEL = ("name", "version", "model_type", "framework", "path", "run_id")
_DEPLOYMENT = ("target", "scaling_config")


@frozen
class RegisteredModel:
    """A version of the registry; `label` is its owner's name for it ("v1.2.0"), "" for none."""

    name: str
    version: str
    label: str = ""


@frozen
class DeployedModel:
    """What the serving folder points at from now on; `folder` holds the graph and its card."""

    name: str
    version: str
    target: str
    folder: Path


async def register_ml_model(
    model: Mapping[str, Any],
    source: Path | str | RunResult | None = None,
    *,
    settings: Settings | None = None,
) -> RegisteredModel:
    """Record a graph as a new version of ``model["name"]`` and as its champion.

    `model`: name, version (your name for it), model_type, framework; `source` is its ONNX file, or a run that made one (or
    ``path`` or ``run_id`` in `model`). Raises InvalidWorkflow (a field), InvalidParameter, InvalidData (no ONNX graph), ConfigurationError, Unavailable.
    """
    found = grammar.mapping(model, _MODEL, "model", ("name",))
    for name in ("name", "version", "model_type", "framework"):
        if found.get(name) is not None:
            grammar.text(found[name], f"model.{name}")
    return await asyncio.to_thread(_register, found, source, settings)


async def deploy_ml_model(
    model: RegisteredModel | Mapping[str, Any] | str,
    deployment: Mapping[str, Any] | None = None,
    *,
    settings: Settings | None = None,
) -> DeployedModel:
    """Serve a version of the registry: its graph is copied into the serving folder, tried, and pointed at.

    `model` is what `register_ml_model` returned, {name, version} (the registry's or your own), or a name (its champion).
    `deployment` is {target, scaling_config}; on one machine these are recorded with the model. Raises as `register_ml_model`.
    """
    plan = Deployment.of(grammar.mapping(deployment or {}, _DEPLOYMENT, "deployment"), "deployment")
    if isinstance(model, RegisteredModel):
        name, version = model.name, model.version
    else:
        found = {"name": model} if isinstance(model, str) else model
        found = grammar.mapping(found, _MODEL, "model", ("name",))
        name, version = grammar.text(found["name"], "model.name"), str(found.get("version") or "")
    return await asyncio.to_thread(_deploy, name, version, plan, settings)


def _register(
    model: Mapping[str, Any], source: Path | str | RunResult | None, given: Settings | None
) -> RegisteredModel:
    settings = given or Settings.from_environment()
    graph, metadata = _graph(model, source, settings)
    _load(graph)
    registry, label = _registry(settings), str(model.get("version") or "")
    if label and (taken := registry.tagged(model["name"], LABEL, label)):
        raise InvalidParameter(
            f"model.version is used once, {label!r} of {model['name']} is version {taken} of the registry; choose another"
        )
    kinds = {name: model[name] for name in ("model_type", "framework") if model.get(name)}
    figures = {k: v for k, v in metadata.get("validation", {}).items() if isinstance(v, int | float)}
    lineage = {"run_id": metadata.get("run_id", ""), "model": {"metadata": metadata}, **kinds}
    version = register(settings.registry, model["name"], graph, kinds, figures, lineage, label)
    return RegisteredModel(model["name"], version, label)


def _graph(
    model: Mapping[str, Any], source: Path | str | RunResult | None, settings: Settings
) -> tuple[Path, Mapping[str, Any]]:
    """Return the file of the graph that is meant, and what is known of it."""
    run_id = source.run_id if isinstance(source, RunResult) else model.get("run_id")
    path = model.get("path") if source is None or isinstance(source, RunResult) else source
    if run_id and not path:
        return _of_run(str(run_id), settings)
    if not path:
        raise InvalidWorkflow("model.path: is missing; give the ONNX file, or the run_id of a run that made a model")
    if not Path(path).is_file():
        raise InvalidParameter(f"a model is registered from its ONNX file, {path} is not there; correct the path")
    return Path(path), {}


def _of_run(run_id: str, settings: Settings) -> tuple[Path, Mapping[str, Any]]:
    """Return the model that the last step of a run made."""
    from fleetml.records import Run

    made: list[dict[str, Any]] = []
    for attempt in Run(settings.home, run_id).here().values():
        artifacts = (attempt.outcome or {}).get("artifacts", {})
        made += [item for items in artifacts.values() for item in items if item["type"] == "system.Model"]
    made = [item for item in made if not item.get("metadata", {}).get("absent")]
    if not made:
        raise InvalidParameter(f"run {run_id} must have made a model, it made none; name another run, or give path")
    path = Path(made[-1]["uri"].removeprefix("file://"))
    return path, {**made[-1].get("metadata", {}), "run_id": run_id}


def _deploy(name: str, version: str, plan: Deployment, given: Settings | None) -> DeployedModel:
    settings = given or Settings.from_environment()
    registry = _registry(settings)
    found = (registry.tagged(name, LABEL, version) or version) if version else registry.champion(name)
    if not found:
        raise InvalidParameter(f"a model is registered before it is deployed, {name!r} has no version; register one")
    with tempfile.TemporaryDirectory() as scratch:
        graph = Path(scratch) / "fetched" / "model.onnx"
        graph.parent.mkdir()
        lineage = registry.fetch(name, found, graph)
        metadata = lineage.get("model", {}).get("metadata", {})
        folder = serve(settings.serving_dir, name, found, graph, plan, metadata, _load)
        shutil.rmtree(graph.parent)
    return DeployedModel(name, found, plan.target, folder)


def _registry(settings: Settings) -> Any:
    try:
        import mlflow  # noqa: F401 - asked for here, so that its lack is told
    except ImportError:
        raise ConfigurationError("the registry needs mlflow, which this Python lacks; use .venv/ml") from None
    from fleetml.serving.registry import Registry

    return Registry(settings.registry)


def _load(graph: Path) -> None:
    """Raises InvalidData for a file that ONNX Runtime does not load."""
    try:
        import onnxruntime
    except ImportError:
        raise ConfigurationError("models are tried by onnxruntime, which this Python lacks; use .venv/ml") from None
    try:
        onnxruntime.InferenceSession(str(graph), providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's errors share no public base
        said = " ".join(str(error).split())[:200]
        raise InvalidData(f"a model must be an ONNX graph, {graph} is not: {said}; export it to ONNX") from None
