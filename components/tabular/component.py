"""The KFP edges of learning from tables: the task types of a workflow."""

from typing import Optional

from kfp import dsl

from components.edge import step


@dsl.container_component
def prepare(
    dataset_path: str,
    dataset: dsl.Output[dsl.Dataset],
    metrics: dsl.Output[dsl.Metrics],
    format: str = "",
    target: str = "",
    objective: str = "",
    schema: dict = {},  # noqa: B006 - kfp reads the default when it compiles
    validation_split: float = 0.2,
    test_split: float = 0.1,
    group: str = "",
    time_column: str = "",
    seed: int = 0,
) -> dsl.ContainerSpec:
    """Read CSV or Parquet, hold it to a schema, find the target, split it; reads a file, so compile with caching off."""
    return step("components.tabular.prepare:prepare")


@dsl.container_component
def extract(
    dataset: dsl.Input[dsl.Dataset],
    extracted: dsl.Output[dsl.Dataset],
    metrics: dsl.Output[dsl.Metrics],
    features: list = [],  # noqa: B006 - kfp reads the default when it compiles
) -> dsl.ContainerSpec:
    """Choose the features and how they are transformed inside the model's graph."""
    return step("components.tabular.extract:extract")


@dsl.container_component
def train(
    dataset: dsl.Input[dsl.Dataset],
    model: dsl.Output[dsl.Model],
    metrics: dsl.Output[dsl.Metrics],
    algorithm: str = "random_forest",
    objective: str = "",
    n_estimators: Optional[int] = None,  # noqa: UP045 - kfp knows this form only
    max_depth: Optional[int] = None,  # noqa: UP045
    num_leaves: Optional[int] = None,  # noqa: UP045
    min_samples_leaf: Optional[int] = None,  # noqa: UP045
    max_features: Optional[float] = None,  # noqa: UP045
    subsample: Optional[float] = None,  # noqa: UP045
    learning_rate: Optional[float] = None,  # noqa: UP045
    l2: Optional[float] = None,  # noqa: UP045
    hidden_layers: Optional[list] = None,  # noqa: UP045
    max_iterations: Optional[int] = None,  # noqa: UP045
    batch_size: Optional[int] = None,  # noqa: UP045
    optimizer: Optional[str] = None,  # noqa: UP045
    early_stopping: Optional[bool] = None,  # noqa: UP045
    seed: int = 0,
    threads: int = 1,
) -> dsl.ContainerSpec:
    """Fit one algorithm (linear, random_forest, extra_trees, xgboost, lightgbm, mlp) as ONE ONNX graph from raw columns."""
    return step("components.tabular.train:train")


@dsl.container_component
def tune(
    dataset: dsl.Input[dsl.Dataset],
    model: dsl.Output[dsl.Model],
    leaderboard: dsl.Output[dsl.Dataset],
    metrics: dsl.Output[dsl.Metrics],
    algorithm: str = "",
    objective: str = "",
    search_space: dict = {},  # noqa: B006 - kfp reads the default when it compiles
    max_trials: int = 20,
    timeout_seconds: int = 120,
    objective_metric: str = "",
    seed: int = 0,
    threads: int = 1,
    trial_seconds: int = 0,
    memory_mb: int = 4096,
) -> dsl.ContainerSpec:
    """Search algorithms and their hyperparameters under a budget of trials and seconds."""
    return step("components.tabular.tune:tune")


@dsl.container_component
def evaluate(
    dataset: dsl.Input[dsl.Dataset],
    model: dsl.Input[dsl.Model],
    result: dsl.Output[dsl.Artifact],
    metrics: dsl.Output[dsl.Metrics],
) -> dsl.ContainerSpec:
    """Judge a model beside the best constant on held-out rows."""
    return step("components.tabular.evaluate:evaluate")


@dsl.container_component
def validate(
    dataset: dsl.Input[dsl.Dataset],
    model: dsl.Input[dsl.Model],
    metrics: dsl.Output[dsl.Metrics],
    thresholds: dict = {},  # noqa: B006 - kfp reads the default when it compiles
    beats_constant: bool = True,
) -> dsl.ContainerSpec:
    """Refuse a model that misses a threshold or is no better than a constant."""
    return step("components.tabular.evaluate:validate")


@dsl.container_component
def predict(
    model: dsl.Input[dsl.Model],
    predictions: dsl.Output[dsl.Dataset],
    metrics: dsl.Output[dsl.Metrics],
    dataset: Optional[dsl.Input[dsl.Dataset]] = None,  # noqa: UP045 - kfp knows this form only
    dataset_path: str = "",
    format: str = "",
    output_path: str = "",
) -> dsl.ContainerSpec:
    """Predict every row of a file or a dataset; it reads and writes files, so compile it with caching off."""
    return step("components.tabular.predict:predict")


@dsl.container_component
def deploy(
    model: dsl.Input[dsl.Model],
    version: dsl.OutputPath(str),  # type: ignore[valid-type]
    metrics: dsl.Output[dsl.Metrics],
    dataset: Optional[dsl.Input[dsl.Dataset]] = None,  # noqa: UP045 - kfp knows this form only
    model_name: str = "model",
    target: str = "production",
    scaling_config: dict = {},  # noqa: B006 - kfp reads the default when it compiles
    registry: str = "",
    serving_dir: str = "",
    only_if_better: bool = False,
    best_effort: bool = False,
    run_id: str = "",
) -> dsl.ContainerSpec:
    """Register a model as the champion and point the serving folder at it; compile it with caching off."""
    return step("components.tabular.deploy:deploy")
