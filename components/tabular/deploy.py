"""MODEL_DEPLOYMENT: a model into the registry and the serving folder, with what it was asked and what it answered."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from components.tabular import table
from components.tabular.evaluate import judge
from components.tabular.model import TabularModel
from fleetml.component import Artifact
from fleetml.serving import release


def deploy(
    model: Artifact,
    metrics: Artifact,
    dataset: Artifact | None = None,
    model_name: str = "model",
    target: str = "production",
    scaling_config: dict[str, Any] | None = None,
    registry: str = "",
    serving_dir: str = "",
    run_id: str = "",
) -> dict[str, Any]:
    """Register the model as the champion and point the serving folder at it; return its version.

    With a `dataset` its figures on the held-out rows are recorded, and the graph that lies in the serving folder must answer
    them as the model does before anything points at it. `target` and `scaling_config` are recorded with it.
    Raises ConfigurationError without registry or serving_dir, InvalidParameter, Unavailable.
    """
    plan = release.Deployment.of({"target": target, "scaling_config": scaling_config or {}}, "parameters")
    release.check_places(registry, serving_dir)
    known = TabularModel(model.path)
    figures: dict[str, float] = {}
    if dataset is not None:
        given = table.read(dataset.path)
        figures = judge(given, known)["model"]
        _, held = given.held_out()
        before = known.predict(held).prediction

        def check(graph: Path) -> None:
            if not np.array_equal(TabularModel(graph).predict(held).prediction, before):
                raise release.refused(graph)

    else:

        def check(graph: Path) -> None:
            TabularModel(graph)

    about = known.about
    params = {
        "algorithm": about.algorithm,
        "objective": about.objective,
        "target": about.target,
        **about.hyperparameters,
    }
    lineage = {
        "run_id": run_id,
        "data": dataset.metadata if dataset is not None else {},
        "code_sha256": model.metadata.get("code_digest", ""),
        "model": {"metadata": model.metadata},
        "target": about.target,
    }
    version = release.register(registry, model_name, model.path, params, figures, lineage)
    release.serve(
        Path(serving_dir), model_name, version, model.path, plan, {**model.metadata, "figures": figures}, check
    )
    metrics.log(version=version, model=model_name, target=plan.target, scaling=json.dumps(plan.scaling))
    return {"version": version}
