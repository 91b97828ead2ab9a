"""Workflows that are wrong are refused with the place; those that are right become a plan."""

from __future__ import annotations

from typing import Any

import pytest

from fleetml.pipeline import Plan, plan_of
from fleetml.workflow.emit import compiled
from fleetml.workflow.grammar import InvalidWorkflow
from fleetml.workflow.spec import parse
from tests.contracts import training

EXAMPLE = training()


def example(**changes: Any) -> dict[str, Any]:
    """The example with changes by path: ``tasks__1__dependencies=[]``; None removes."""
    made = training()
    for path, value in changes.items():
        *way, last = [int(part) if part.isdecimal() else part for part in path.split("__")]
        place: Any = made
        for part in way:
            place = place[part]
        if value is None:
            del place[last]
        else:
            place[last] = value
    return made


def plan(document: dict[str, Any]) -> Plan:
    return plan_of(compiled(parse(document)))


def task(name: str, kind: str, *after: str, **parameters: Any) -> dict[str, Any]:
    return {"task_id": name, "task_type": kind, "dependencies": list(after), "parameters": parameters}


DATA = task("data", "DATA_PREPROCESSING", dataset_path="/d.csv")
TRAIN = task("train", "MODEL_TRAINING", "data")
DATA_DONE = {"state": "succeeded", "parameters": {}, "artifacts": {"dataset": [{"uri": "/x"}]}}
DEPTH = {"max_depth": {"type": "integer", "min": 1, "max": 2}}


def flow(*tasks: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"workflow_id": "w", "tasks": list(tasks), **more}


def test_the_example_becomes_two_steps_and_the_data_flow() -> None:
    made = plan(EXAMPLE)
    assert (made.name, made.label) == ("training-pipeline-v1", "Model Training Pipeline")
    assert {name: step.label for name, step in made.steps.items()} == {
        "preprocess-data": "preprocess_data",
        "train-model": "train_model",
    }
    assert made.steps["train-model"].upstream == ("preprocess-data",)
    inputs = made.resolve("train-model", made.bind({}), {"preprocess-data": DATA_DONE}, {})
    assert inputs.parameters["algorithm"] == "random_forest"
    assert inputs.artifacts["dataset"][0]["uri"] == "/x"


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ([], "the document: must be a mapping, got []"),
        (example(workflow_id=None), "workflow_id: is missing"),
        (example(workflow_id="a b"), "workflow_id: an id is letters, digits"),
        (example(task=1), "task: is no field here; did you mean 'tasks'?"),
        (example(tasks=[]), "tasks: a workflow has at least one task"),
        (example(tasks={}), "tasks: must be a list, got {}"),
        (example(tasks__0=3), "tasks[0]: must be a mapping, got 3"),
        (example(tasks__1__task_id=None), "tasks[1].task_id: is missing"),
        (example(tasks__1__task_id=7), "tasks[1].task_id: must be a text, got 7"),
        (example(tasks__1__depends_on=["preprocess_data"]), "tasks[1].depends_on: is no field here"),
        (
            example(tasks__1__task_type="model_trainig"),
            "tasks[1].task_type: 'model_trainig' is no task type; did you mean 'MODEL_TRAINING'?",
        ),
        (example(tasks__1__task_type="xyz"), "tasks[1].task_type: 'xyz' is no task type; known are DATA_"),
        (
            example(tasks__1__dependencies=["preproces_data"]),
            "tasks[1].dependencies[0]: 'preproces_data' is no task of this workflow; did you mean 'preprocess_data'?",
        ),
        (
            example(tasks__1__dependencies=["train_model"]),
            "tasks[1].dependencies[0]: task 'train_model' depends on itself",
        ),
        (
            example(tasks__0__dependencies=["train_model"]),
            "tasks wait for each other: preprocess_data -> train_model -> preprocess_data",
        ),
        (example(tasks__1__task_id="preprocess_data"), "tasks[1].task_id: 'preprocess_data' is the id of tasks[0] too"),
        (example(tasks__1__task_id="Preprocess-Data"), "differs in nothing but case or punctuation"),
        (
            example(tasks__1__dependencies=[]),
            "tasks[1]: MODEL_TRAINING needs a Dataset, no task before 'train_model' makes one; "
            "add a task of type DATA_PREPROCESSING or FEATURE_EXTRACTION to its dependencies",
        ),
        (example(tasks__0__parameters={}), "tasks[0].parameters.dataset_path: is missing"),
        (
            example(tasks__0__parameters__datset=1),
            "tasks[0].parameters.datset: is no parameter of DATA_PREPROCESSING; did you mean 'dataset_path'?",
        ),
        (example(tasks__1__parameters__n_estimators="many"), "tasks[1].parameters.n_estimators: must be an integer"),
        (example(tasks__1__parameters__learning_rate=0.1), "tasks[1].parameters.learning_rate: random_forest has no"),
        (
            example(tasks__1__parameters__algorithm="random_forrest"),
            "tasks[1].parameters.algorithm: must be one of linear, random_forest, extra_trees, xgboost, lightgbm, mlp, got",
        ),
        (
            example(tasks__1__resources={"cpu": 1}),
            "tasks[1].resources.cpu: is no field here; did you mean 'cpu_cores'?",
        ),
        (
            example(tasks__1__resources={"gpu_units": 0.5}),
            "tasks[1].resources.gpu_units: must be a whole number from 0",
        ),
        (example(tasks__1__retry=-1), "tasks[1].retry: must be a whole number from 0, got -1"),
        (example(tasks__1__retry={"max_retries": 1, "backoff_factor": 0.5}), "tasks[1].retry.backoff_factor: must be"),
        (example(tasks__1__cache="yes"), "tasks[1].cache: must be true or false, got 'yes'"),
        (example(global_parameters={"colour": 1}), "global_parameters.colour: no task takes it"),
        (example(global_parameters={"seed": None}), "global_parameters.seed: must be an integer, got None"),
        (example(global_parameters={"seed": "x"}), "global_parameters.seed: must be an integer, got 'x'"),
        (example(global_parameters={}, parameters={}), "parameters: is another name of global_parameters"),
        (
            example(global_parameters={"seed": 1}, tasks__1__parameters__seed="${sed}"),
            "tasks[1].parameters.seed: ${sed} is no global parameter; did you mean 'seed'?",
        ),
        (
            example(global_parameters={"x": 1}, tasks__1__parameters__seed="1${x}"),
            "tasks[1].parameters.seed: takes a number",
        ),
        (
            flow(DATA, {**DATA, "task_id": "other"}, task("train", "MODEL_TRAINING", "data", "other")),
            "tasks[2].dependencies: 'data' and 'other' both make a Dataset for 'train'",
        ),
        (example(tasks__1__parameters__n_estimators=0), "tasks[1].parameters.n_estimators: must be positive, got 0"),
        (example(tasks__1__parameters__max_features=1.5), "tasks[1].parameters.max_features: must be above 0"),
        (
            example(tasks__1__parameters={"algorithm": "mlp", "hidden_layers": [0]}),
            "tasks[1].parameters.hidden_layers: must hold the widths of layers",
        ),
        (
            example(global_parameters={"max_depth": 3}, tasks__1__parameters__algorithm="linear"),
            "tasks[1].parameters.max_depth: linear has no max_depth",
        ),
        (
            example(global_parameters={"subsample": "x"}),
            "global_parameters.subsample: must be a finite number, got 'x'",
        ),
        (example(tasks__0__parameters__format="xml"), "tasks[0].parameters.format: 'xml' is none of csv, parquet"),
        (example(tasks__0__parameters__objective="clasify"), "tasks[0].parameters.objective: 'clasify' is none of"),
        (example(tasks__0__parameters__validation_split=1.0), "tasks[0].parameters.validation_split: must be above 0"),
        (
            flow(DATA, task("f", "FEATURE_EXTRACTION", "data", features=[{"name": "a", "transformations": ["cube"]}])),
            "tasks[1].parameters.features[0].transformations: 'cube' is none of standard_scale",
        ),
        (
            flow(DATA, task("t", "HYPERPARAMETER_TUNING", "data", trial_seconds=-1)),
            "tasks[1].parameters.trial_seconds: must be",
        ),
        (
            flow(DATA, task("t", "HYPERPARAMETER_TUNING", "data", search_space={"l2": {"type": "categorical"}})),
            "tasks[1].parameters.search_space: is that of one algorithm, none is given",
        ),
        (
            flow(DATA, task("t", "HYPERPARAMETER_TUNING", "data", algorithm="mlp", search_space={"l2": {"type": "x"}})),
            "tasks[1].parameters.search_space.l2.type must be one of integer, float, categorical",
        ),
        (
            flow(DATA, task("t", "HYPERPARAMETER_TUNING", "data", algorithm="linear", search_space=DEPTH)),
            "tasks[1].parameters.search_space.max_depth: linear has no max_depth",
        ),
        (
            flow(DATA, task("t", "HYPERPARAMETER_TUNING", "data", objective_metric="acuracy")),
            "tasks[1].parameters.objective_metric: 'acuracy' is none of accuracy",
        ),
        (
            flow(DATA, task("t", "HYPERPARAMETER_TUNING", "data", max_trials=0)),
            "tasks[1].parameters.max_trials: must be",
        ),
        (flow(task("a", "AUTOML")), "tasks[0]: AUTOML needs a Dataset, no task before 'a' makes one"),
        (
            flow(DATA, task("a", "AUTOML", "data", metric="acuracy")),
            "tasks[1].parameters.metric: 'acuracy' is none of accuracy",
        ),
        (flow(DATA, task("a", "AUTOML", "data", trials=0)), "tasks[1].parameters.trials: must be a number from 1"),
        (
            flow(DATA, task("a", "AUTOML", "data", size_limit_mb=0)),
            "tasks[1].parameters.size_limit_mb: must be above 0, got 0; raise it",
        ),
        (
            flow(DATA, task("a", "AUTOML", "data"), global_parameters={"group": "vm", "time_column": "at"}),
            "tasks[1].parameters.time_column: validation is grouped or ordered in time, group is given too",
        ),
        (
            flow(DATA, task("a", "AUTOML", "data", group="vm")),
            "tasks[1].parameters.group: must be that of 'data' too, which splits off the test rows, got 'vm' and ''",
        ),
        (
            flow(DATA, TRAIN, task("v", "MODEL_VALIDATION", "train", thresholds={"acc": 1})),
            "tasks[2].parameters.thresholds: 'acc' is none of accuracy",
        ),
        (
            flow(DATA, TRAIN, task("v", "MODEL_VALIDATION", "train", thresholds={"f1": "high"})),
            "tasks[2].parameters.thresholds.f1: must be a number, got 'high'",
        ),
        (
            flow(DATA, TRAIN, task("d", "MODEL_DEPLOYMENT", "train", scaling_config={"min": 1})),
            "tasks[2].parameters.scaling_config has min_replicas",
        ),
        (flow(DATA, task("p", "BATCH_INFERENCE", "data")), "or give parameters.model_name, a model of the registry"),
        (
            flow(task("p", "BATCH_INFERENCE", model_name="m")),
            "BATCH_INFERENCE needs rows; give parameters.dataset_path",
        ),
    ],
)
def test_a_fault_is_refused_with_its_place(document: Any, said: str) -> None:
    with pytest.raises(InvalidWorkflow) as refused:
        compiled(parse(document))
    assert said in str(refused.value)


def source(document: dict[str, Any], name: str, kind: str = "dataset") -> str:
    return compiled(parse(document))["root"]["dag"]["tasks"][name]["inputs"]["artifacts"][kind]["taskOutputArtifact"][
        "producerTask"
    ]


def test_a_task_takes_the_dataset_and_model_of_the_nearest_task_before_it() -> None:
    features = task("features", "FEATURE_EXTRACTION", "data")
    document = flow(
        DATA,
        features,
        task("train", "MODEL_TRAINING", "features", "data"),  # what was made of the other wins
        task("check", "MODEL_VALIDATION", "train"),
        task("judge", "MODEL_EVALUATION", "check"),
    )
    assert source(document, "train") == "features"
    assert source(document, "judge", "model") == "train"
    assert source(document, "judge") == "features"
    waits = compiled(parse(document))["root"]["dag"]["tasks"]["judge"]["dependentTasks"]
    assert waits == ["check", "features", "train"]


def test_global_parameters_reach_tasks_by_name_and_by_reference() -> None:
    document = flow(
        task("data", "DATA_PREPROCESSING", dataset_path="${folder}/${name}.csv"),
        task("train", "MODEL_TRAINING", "data", n_estimators="${trees}"),
        global_parameters={"seed": 5, "folder": "/d", "name": "rows", "trees": 10},
    )
    made = plan(document)
    bound = made.bind({"name": "other"})
    assert made.resolve("data", bound, {}, {}).parameters["dataset_path"] == "/d/other.csv"
    assert made.resolve("data", bound, {}, {}).parameters["seed"] == 5
    outcome = {"state": "succeeded", "parameters": {}, "artifacts": {"dataset": [{"uri": "/x"}]}}
    assert made.resolve("train", bound, {"data": outcome}, {}).parameters["n_estimators"] == 10


def test_what_a_task_gives_itself_wins() -> None:
    made = plan(flow(DATA, {**TRAIN, "parameters": {"seed": 1}}, parameters={"seed": 5}))
    bound = made.bind({})
    outcome = {"state": "succeeded", "parameters": {}, "artifacts": {"dataset": [{"uri": "/x"}]}}
    assert made.resolve("train", bound, {"data": outcome}, {}).parameters["seed"] == 1


def test_resources_retries_and_caching() -> None:
    given = {
        **TRAIN,
        "resources": {"cpu_cores": 2, "memory_gb": 1.5, "gpu_units": 1},
        "retry": {"max_retries": 3, "backoff_seconds": 1, "backoff_factor": 3, "max_backoff_seconds": 9},
        "cache": False,
    }
    made = plan(flow(DATA, given))
    step = made.steps["train"]
    resources = step.container.resources
    assert (resources.cpu_limit, resources.memory_limit, resources.accelerator_count) == ("2", "1.5G", "1")
    assert (step.retry.count, step.retry.delay, step.retry.factor, step.retry.longest) == (3, 1.0, 3.0, 9.0)
    assert not step.cacheable
    assert made.resolve("train", {}, {"data": DONE}, {}).parameters["threads"] == 2


DONE = {"state": "succeeded", "parameters": {}, "artifacts": {"dataset": [{"uri": "/x"}]}}


def test_what_reads_the_outside_world_is_not_cached_unless_told() -> None:
    assert not plan(flow(DATA)).steps["data"].cacheable
    assert plan(flow({**DATA, "cache": True})).steps["data"].cacheable
    assert plan(flow(DATA, TRAIN)).steps["train"].cacheable


def test_a_model_of_the_registry_is_fetched_by_a_step_of_its_own() -> None:
    made = plan(flow(task("predict", "BATCH_INFERENCE", model_name="labels", dataset_path="/d.csv")))
    assert list(made.steps) == ["predict-model", "predict"]
    bound = made.bind({"registry": "sqlite:////r/mlflow.db"})
    assert made.resolve("predict-model", bound, {}, {}).parameters == {
        "model_name": "labels",
        "registry": "sqlite:////r/mlflow.db",
    }


def test_two_thousand_tasks_in_a_row_compile() -> None:
    tasks = [DATA, *(task(f"f{at}", "FEATURE_EXTRACTION", f"f{at - 1}" if at else "data") for at in range(2000))]
    assert len(compiled(parse(flow(*tasks)))["root"]["dag"]["tasks"]) == 2001


def test_automl_has_the_groups_of_the_split_and_the_cores_of_its_task() -> None:
    search = {**task("search", "automl", "data", group="${by}"), "resources": {"cpu_cores": 3}}
    data = task("data", "DATA_PREPROCESSING", dataset_path="/d.csv", group="${by}")
    judge = task("judge", "MODEL_EVALUATION", "search")
    made = plan(flow(data, search, judge, global_parameters={"by": "vm"}))
    inputs = made.resolve("search", made.bind({}), {"data": DATA_DONE}, {})
    assert (inputs.parameters["group"], inputs.parameters["workers"]) == ("vm", 3)
    assert made.steps["judge"].upstream == ("data", "search")
