"""The published schemas are those of the code, and say what the compiler says of a document's shape."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from fleetml.workflow import job
from fleetml.workflow.emit import compiled
from fleetml.workflow.grammar import InvalidWorkflow
from fleetml.workflow.schema import SCHEMAS, text
from fleetml.workflow.spec import parse

PUBLISHED = Path(__file__).parents[2] / "docs" / "schemas"
WORKFLOW: dict[str, Any] = {
    "workflow_id": "w",
    "name": "W",
    "description": "all of it",
    "global_parameters": {"seed": 1, "folder": "/d"},
    "tasks": [
        {"task_id": "data", "task_type": "Data-Preprocessing", "parameters": {"dataset_path": "${folder}/x.csv"}},
        {
            "task_id": "train",
            "task_type": "model_training",
            "name": "Train",
            "dependencies": ["data"],
            "parameters": {"algorithm": "xgboost", "n_estimators": 10, "seed": "${seed}", "early_stopping": True},
            "resources": {"cpu_cores": 0.5, "memory_gb": 1, "gpu_units": 0},
            "retry": {"max_retries": 2, "backoff_seconds": 0.5},
            "cache": True,
        },
        {"task_id": "judge", "task_type": "MODEL_EVALUATION", "dependencies": ["train"], "retry": 1},
    ],
}
JOB: dict[str, Any] = {
    "model_id": "m",
    "dataset": {
        "uri": "/d.csv",
        "format": "CSV",
        "schema": [{"name": "a", "type": "float"}, {"name": "y", "type": "string"}],
        "features": ["b", {"name": "a", "type": "float", "transformations": ["log", "min_max"]}],
        "target": "y",
    },
    "algorithm": "mlp",
    "objective": "classification",
    "max_iterations": 10,
    "early_stopping": True,
    "batch_size": 8,
    "learning_rate": 0.1,
    "optimizer": "sgd",
    "validation_split": 0.3,
    "seed": 1,
    "hyperparameters": {"hidden_layers": [8]},
    "resources": {"cpu_cores": 1},
    "deployment": {"target": "production", "scaling_config": {"min_replicas": 1}},
}


def schema(name: str) -> Any:
    return jsonschema.Draft202012Validator(json.loads((PUBLISHED / name).read_text()))


@pytest.mark.parametrize("name", SCHEMAS)
def test_what_is_published_is_what_the_code_says(name: str) -> None:
    made = SCHEMAS[name]()
    jsonschema.Draft202012Validator.check_schema(made)
    assert (PUBLISHED / name).read_text() == text(made), "run: python -m fleetml.workflow.schema docs/schemas"


def changed(document: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    made = copy.deepcopy(document)
    *way, last = [int(part) if part.isdecimal() else part for part in path.split(".")]
    place: Any = made
    for part in way:
        place = place[part]
    if value is None:
        del place[last]
    else:
        place[last] = value
    return made


def test_both_take_a_whole_workflow_and_a_whole_job() -> None:
    schema("workflow.schema.json").validate(WORKFLOW)
    compiled(parse(WORKFLOW))
    schema("job.schema.json").validate(JOB)
    job.workflow(JOB, Path("/"))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("workflow_id", None),
        ("workflow_id", "a b"),
        ("name", ""),
        ("tasks", []),
        ("task", 1),
        ("parameters", {}),
        ("tasks.0.task_id", None),
        ("tasks.0.task_type", "MODEL"),
        ("tasks.0.parameters.rows", 3),
        ("tasks.0.parameters.dataset_path", 3),
        ("tasks.1.parameters.n_estimators", "ten"),
        ("tasks.1.parameters.n_estimators", 1.5),
        ("tasks.1.parameters.early_stopping", 1),
        ("tasks.1.dependencies", "data"),
        ("tasks.1.dependencies", [1]),
        ("tasks.1.resources.cpus", 1),
        ("tasks.1.resources.gpu_units", 0.5),
        ("tasks.1.resources.cpu_cores", -1),
        ("tasks.1.retry", "3"),
        ("tasks.1.retry.max_retries", None),
        ("tasks.1.retry.backoff_factor", 0.5),
        ("tasks.2.retry", -1),
        ("tasks.1.cache", "no"),
    ],
)
def test_both_refuse_a_workflow_of_another_shape(path: str, value: Any) -> None:
    document = changed(WORKFLOW, path, value)
    assert not schema("workflow.schema.json").is_valid(document)
    with pytest.raises(InvalidWorkflow):
        compiled(parse(document))


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("model_id", None, "model_id: is missing"),
        ("dataset", None, "dataset: is missing"),
        ("dataset.uri", None, "dataset.uri: is missing"),
        ("dataset.format", "xml", "dataset.format: 'xml' is none of csv, parquet"),
        ("dataset.schema", [{"name": "a"}], "dataset.schema[0].type: is missing"),
        ("dataset.features.1.transformations", ["logg"], "features[1].transformations: 'logg' is none of"),
        ("dataset.features.1.kind", "x", "features[1].kind: is no field here"),
        ("algorithm", "mpl", "algorithm: must be one of linear, random_forest"),
        ("objective", "clasification", "objective: 'clasification' is none of"),
        ("max_iterations", "many", "max_iterations: must be an integer, got 'many'"),
        ("early_stopping", "yes", "early_stopping: must be true or false, got 'yes'"),
        ("validation_split", "half", "validation_split: must be a finite number"),
        ("hyperparameters.trees", 3, "hyperparameters.trees: is no field here"),
        ("hyperparameters.hidden_layers", 3, "hyperparameters.hidden_layers: must be a list"),
        ("resources.cpus", 3, "resources.cpus: is no field here; did you mean 'cpu_cores'?"),
        ("deployment.replicas", 3, "deployment.replicas: is no field here"),
        ("optimiser", "adam", "optimiser: is no field here; did you mean 'optimizer'?"),
    ],
)
def test_both_refuse_a_job_of_another_shape_with_its_own_place(path: str, value: Any, said: str) -> None:
    document = changed(JOB, path, value)
    assert not schema("job.schema.json").is_valid(document)
    with pytest.raises(InvalidWorkflow) as refused:
        job.workflow(document, Path("/"))
    assert str(refused.value).startswith(said)
