"""A training job: one model from one dataset, as a run of the matching pipeline.

    model_id: churn
    dataset: {uri: rows.csv, format: CSV, schema: {age: int, label: string}}
    features: [{name: age, type: integer, transformations: [standard_scale]}]     (features and target also in dataset)
    target: label
    algorithm: xgboost             (none: all are searched)
    objective: classification      (forecasting: VM metrics, by dags/train_forecaster)
    max_iterations: 200            (rounds, trees, epochs; also early_stopping, batch_size, learning_rate, optimizer)
    hyperparameters: {max_depth: 6}
    validation_split: 0.2
    resources: {cpu_cores: 2, memory_gb: 4, gpu_units: 0}
    deployment: {target: production, scaling_config: {min_replicas: 1}}           (none: trained and judged, not served)

Standard library, like all of the compiler.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fleetml.learn.algorithms import ALGORITHMS, OBJECTIVES
from fleetml.pipeline import document
from fleetml.workflow import grammar, values
from fleetml.workflow.emit import compiled
from fleetml.workflow.grammar import InvalidWorkflow
from fleetml.workflow.source import located, naming
from fleetml.workflow.spec import Workflow, parse, slug

FORECASTING = ("forecasting", "forecast")
_TRAINING = ("max_iterations", "early_stopping", "batch_size", "learning_rate", "optimizer")
_SPLIT = ("validation_split", "seed")
_JOB = (
    "model_id",
    "name",
    "dataset",
    "features",
    "target",
    "algorithm",
    "objective",
    *_TRAINING,
    *_SPLIT,
    "hyperparameters",
    "resources",
    "deployment",
)
_DATASET = ("uri", "format", "schema", "features", "target")


def read(path: Path, cache: Path | None = None) -> dict[str, Any]:
    """Return the document of a job file. Raises InvalidPipeline for what is no YAML or JSON."""
    with naming(path):
        return document.read(path, cache)


def is_forecast(job: Mapping[str, Any]) -> bool:
    """Say whether the matching pipeline is that of the forecasters."""
    return str(job.get("objective", "")).lower() in FORECASTING


def forecast_parameters(job: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Return the parameters of train_forecaster for a job. Raises InvalidWorkflow for what that pipeline settles itself."""
    found = grammar.mapping(job, _JOB, "", ("model_id", "dataset"))
    dataset = grammar.mapping(found["dataset"], _DATASET, "dataset", ("uri",))
    settled = ("features", "algorithm", "deployment", *_TRAINING, "hyperparameters", "resources", "validation_split")
    for name in settled:
        if found.get(name) is not None:
            raise InvalidWorkflow(f"{name}: train_forecaster settles it by itself; remove it, or change the objective")
    for name in ("schema", "features"):
        if dataset.get(name) is not None:
            raise InvalidWorkflow(
                f"dataset.{name}: VM metrics have columns of their own (components/ingest); remove it"
            )
    uri = grammar.text(dataset["uri"], "dataset.uri")
    made = {"source": uri if "://" in uri else str(folder / Path(uri).expanduser())}
    if target := _one(found, dataset, "target"):
        made["target"] = grammar.text(target, "target")
    return {**made, **({"seed": found["seed"]} if found.get("seed") is not None else {})}


def workflow(job: Mapping[str, Any], folder: Path) -> Workflow:
    """Return the job as a workflow; a relative uri is relative to `folder`. Raises InvalidWorkflow with the place."""
    found = grammar.mapping(job, _JOB, "", ("model_id", "dataset"))
    model = grammar.text(found["model_id"], "model_id")
    if not slug(model):
        raise InvalidWorkflow(f"model_id: a name has letters or digits, got {model!r}; rename it")
    dataset = grammar.mapping(found["dataset"], _DATASET, "dataset", ("uri",))
    tasks = [_prepare(found, dataset)]
    if features := _one(found, dataset, "features"):
        values.features(features, "features", _one(found, dataset, "target"))
        tasks.append({"task_id": "features", "task_type": "FEATURE_EXTRACTION", "parameters": {"features": features}})
    tasks.append(_train(found))
    tasks.append({"task_id": "evaluate", "task_type": "MODEL_EVALUATION"})
    if found.get("deployment") is not None:
        given = grammar.mapping(found["deployment"], ("target", "scaling_config"), "deployment")
        tasks.append({"task_id": "validate", "task_type": "MODEL_VALIDATION"})
        tasks.append(
            {"task_id": "deploy", "task_type": "MODEL_DEPLOYMENT", "parameters": {"model_name": model, **given}}
        )
    for before, task in itertools.pairwise(tasks):
        task["dependencies"] = [before["task_id"]]
    document = {"workflow_id": f"train-{slug(model)}", "name": found.get("name") or f"Train {model}", "tasks": tasks}
    try:
        made = parse(document)
        compiled(made)
    except InvalidWorkflow as error:
        raise InvalidWorkflow(_placed(str(error), found, dataset)) from None
    return located(made, folder)


def _placed(message: str, job: Mapping[str, Any], dataset: Mapping[str, Any]) -> str:
    """Return what was said of a workflow's task with the job's own place."""

    def place(found: re.Match[str]) -> str:
        name = found[1]
        for where, holder in (("hyperparameters", job.get("hyperparameters")), ("dataset", dataset)):
            if isinstance(holder, dict) and name in holder:
                return f"{where}.{name}"
        return name

    message = re.sub(r"^tasks\[\d+\]\.parameters\.(\w+)", place, message)
    return re.sub(r"^tasks\[\d+\]\.", "", message)


def _prepare(job: Mapping[str, Any], dataset: Mapping[str, Any]) -> dict[str, Any]:
    parameters: dict[str, Any] = {"dataset_path": grammar.text(dataset["uri"], "dataset.uri")}
    if (kind := dataset.get("format")) is not None:
        values.one_of(str(kind).lower(), values.FORMATS, "dataset.format")
        parameters["format"] = str(kind).lower()
    if (schema := dataset.get("schema")) is not None:
        parameters["schema"] = _schema(schema)
    if (objective := job.get("objective")) is not None:
        values.one_of(str(objective).lower(), (*OBJECTIVES, FORECASTING[0]), "objective")
    parameters |= {name: job[name] for name in (*_SPLIT, "objective") if job.get(name) is not None}
    if (target := _one(job, dataset, "target")) is not None:
        parameters["target"] = grammar.text(target, "target")
    return {"task_id": "data", "task_type": "DATA_PREPROCESSING", "parameters": parameters}


def _schema(schema: Any) -> dict[str, str]:
    """Return {column: type} of a mapping, or of a list of {name, type}."""
    if isinstance(schema, list):
        entries = [
            grammar.mapping(entry, ("name", "type"), f"dataset.schema[{at}]", ("name", "type"))
            for at, entry in enumerate(schema)
        ]
        schema = {entry["name"]: entry["type"] for entry in entries}
    if not isinstance(schema, dict) or not schema:
        raise InvalidWorkflow(f"dataset.schema: must map columns to types, got {schema!r}; correct it")
    return {str(name): grammar.text(kind, f"dataset.schema.{name}") for name, kind in schema.items()}


def _train(job: Mapping[str, Any]) -> dict[str, Any]:
    extra = grammar.mapping(job.get("hyperparameters") or {}, _hyperparameters(), "hyperparameters")
    if twice := [name for name in extra if job.get(name) is not None]:
        raise InvalidWorkflow(f"hyperparameters.{twice[0]}: stands at the top too; give it once")
    chosen = {name: job[name] for name in _TRAINING if job.get(name) is not None} | dict(extra)
    chosen = {name: value for name, value in chosen.items() if value is not False or name != "early_stopping"}
    task: dict[str, Any] = {"task_id": "train", "task_type": "MODEL_TRAINING"}
    if not job.get("algorithm"):
        if chosen:
            raise InvalidWorkflow(f"{next(iter(chosen))}: is of one algorithm, none is given; give algorithm too")
        task["task_type"] = "HYPERPARAMETER_TUNING"
    else:
        chosen["algorithm"] = job["algorithm"]
    if job.get("seed") is not None:
        chosen["seed"] = job["seed"]
    return {**task, "parameters": chosen, "resources": job.get("resources") or {}}


def _hyperparameters() -> list[str]:
    return list(dict.fromkeys(name for known in ALGORITHMS.values() for name in known.knows))


def _one(job: Mapping[str, Any], dataset: Mapping[str, Any], name: str) -> Any:
    """Return what stands at the top or in the dataset. Raises InvalidWorkflow where it stands in both."""
    if job.get(name) is not None and dataset.get(name) is not None:
        raise InvalidWorkflow(f"{name}: stands at the top and in dataset; give it once")
    return job.get(name) if job.get(name) is not None else dataset.get(name)
