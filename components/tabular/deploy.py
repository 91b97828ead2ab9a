"""MODEL_DEPLOYMENT: a model into the registry and the serving folder, with what it was asked and what it answered."""

import json
import logging
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from components.tabular.evaluate import judge
from fleetml.component import Artifact
from fleetml.errors import InvalidData, InvalidParameter
from fleetml.learn.tables import scores, table
from fleetml.learn.tables.model import TabularModel
from fleetml.learn.tables.table import Table
from fleetml.serving import deployment, release
from fleetml.serving.registry import Registry

log = logging.getLogger(__name__)


def deploy(
    model: Artifact,
    metrics: Artifact,
    dataset: Artifact | None = None,
    model_name: str = "model",
    target: str = "production",
    scaling_config: dict[str, Any] | None = None,
    registry: str = "",
    serving_dir: str = "",
    only_if_better: bool = False,
    best_effort: bool = False,
    run_id: str = "",
) -> dict[str, Any]:
    """Register the model as the champion and point the serving folder at it; return its version.

    With a `dataset` its figures on the held-out rows are recorded, and the graph that lies in the serving folder must answer
    them as the model does before anything points at it. With `only_if_better` a champion that is as good on these rows, by the
    metric the model was searched by, stays, and the step fails. A search's best effort, which is outside of its limits of latency
    or size, is deployed with `best_effort` alone, and named so. `target` and `scaling_config` are recorded with it.
    Raises ConfigurationError without registry or serving_dir, InvalidParameter, InvalidData, Unavailable.
    """
    over = _check_limits(model, best_effort)
    plan = release.Deployment.of({"target": target, "scaling_config": scaling_config or {}}, "parameters")
    release.check_places(registry, serving_dir)
    known = TabularModel(model.path)
    about = known.about
    given = table.read(dataset.path) if dataset is not None else None
    figures = judge(given, known, model.metadata)["model"] if given is not None else {}
    if only_if_better:
        _check_champion(registry, model_name, given, figures)
    params = {name: getattr(about, name) for name in ("algorithm", "objective", "target")} | dict(about.hyperparameters)
    data = (_data(dataset, given),) if dataset is not None and given is not None else ()
    lineage = {
        "run_id": run_id,
        "data": data[0] if data else {},
        "code_sha256": model.metadata.get("code_digest", ""),
        "model": {"metadata": model.metadata},
        "target": about.target,
    }
    version = release.register(registry, model_name, model.path, params, figures, lineage, datasets=data)
    card = {**model.metadata, "figures": figures}
    release.serve(Path(serving_dir), model_name, version, model.path, plan, card, _check(known, given))
    told = {"best_effort": over} if over else {}
    metrics.log(version=version, model=model_name, **told, target=plan.target, scaling=json.dumps(plan.scaling))
    return {"version": version}


def _check_limits(model: Artifact, best_effort: bool) -> str:
    """Return why a search named its model a best effort, "" of one inside its limits. Raises InvalidData for one not asked for."""
    if model.metadata.get("budget_met", True):
        return ""
    why = str(model.metadata.get("card", {}).get("reason") or "it is over a limit")
    if not best_effort:
        raise InvalidData(
            f"a deployed model must be inside the limits it was searched with, this one is not ({why}); search longer, allow "
            "more by latency_limit_ms, size_limit_mb or memory_limit_mb, or deploy it with best_effort=true"
        )
    log.warning("a model outside of its limits is deployed, as best_effort asks: %s", why)
    return why


def _check(known: TabularModel, given: Table | None) -> Callable[[Path], None]:
    """Return what raises InvalidData for an installed graph that does not answer as the model."""

    def check(graph: Path) -> None:
        installed = TabularModel(graph)
        if given is None:
            return
        _, held = given.held_out()
        if not np.array_equal(installed.predict(held).prediction, known.predict(held).prediction):
            raise release.refused(graph)

    return check


def _check_champion(registry: str, name: str, given: Table | None, figures: dict[str, float]) -> None:
    """Raises InvalidData where the champion is as good on the same rows, InvalidParameter without rows."""
    if given is None:
        raise InvalidParameter(
            "only_if_better compares on held-out rows, there are none; depend on a task that makes a Dataset"
        )
    known = Registry(registry)
    if not (version := known.champion(name)):
        return
    with tempfile.TemporaryDirectory() as scratch:
        graph = Path(scratch) / "champion" / "model.onnx"
        graph.parent.mkdir()
        known.fetch(name, version, graph)
        before = judge(given, TabularModel(graph), {})["model"]
    first = next(name for name in figures if name in before)  # AUC needs the same classes
    if not scores.better(first, figures[first], before[first]):
        raise InvalidData(
            f"a model replaces the champion if it is better: {first} is {figures[first]}, that of {name} version {version} "
            f"{before[first]} on the same rows; keep the champion, or deploy without only_if_better"
        )


def _data(dataset: Artifact, given: Table) -> dict[str, Any]:
    return {
        "name": "dataset",
        "uri": str(dataset.metadata.get("source", dataset.uri)),
        "sha256": deployment.digest(dataset.path),
        "rows": len(given.frame),
        "metadata": dataset.metadata,
    }
