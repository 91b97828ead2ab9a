"""train_tabular: from a CSV or Parquet file to a served model of one column, found by AutoML, checked on rows it never saw."""

from kfp import dsl

from components.automl.component import automl_tabular
from components.tabular.component import deploy, evaluate, prepare, validate


@dsl.pipeline(name="train-tabular", display_name="Train a model of a table")
def train_tabular(
    dataset_path: str = "",
    target: str = "",
    objective: str = "",
    test_split: float = 0.2,
    trials: int = 200,
    search_seconds: int = 60,
    workers: int = 2,
    memory_mb: int = 4096,
    metric: str = "",
    group: str = "",
    time_column: str = "",
    latency_limit_ms: float = 10.0,
    size_limit_mb: float = 20.0,
    memory_limit_mb: float = 0.0,
    thresholds: dict = {},  # noqa: B006 - kfp reads the default when it compiles
    seed: int = 0,
    model_name: str = "model",
    only_if_better: bool = False,
    best_effort: bool = False,
    registry: str = "",
    serving_dir: str = "",
):
    """Search a model of a table's column, judge it on held-out rows, and deploy it if it beats a constant and the thresholds.

    Args:
        dataset_path: CSV or Parquet: a file, a folder of them, or a URL.
        target: Column that is learnt; empty: the one named target or label, or the last.
        objective: classification or regression; empty: by the target's values.
        test_split: Share of the rows that only judge the finished model; above 0.
        trials: Configurations tried.
        search_seconds: Wall-clock budget of the search, the finished graph included, in seconds.
        workers: Trials at a time, each on one thread.
        memory_mb: Megabytes that one trial may take beyond the data.
        metric: What is made good: accuracy, f1, roc_auc, log_loss; rmse, mae, r2. Empty: log_loss or rmse.
        group: Column whose rows belong together: they are on one side when trials and the model are judged. Empty: none.
        time_column: Column of the time: trials and the model are judged by later rows than they learnt from. Empty: none.
        latency_limit_ms: Longest time of one row on one thread, in milliseconds.
        size_limit_mb: Largest graph, in megabytes.
        memory_limit_mb: Most memory of the graph, loaded and asked one row, in megabytes; 0: any.
        thresholds: Figures the model must reach on the held-out rows, e.g. {"roc_auc": 0.8}.
        seed: Seed of every random choice.
        model_name: Name in the registry and on the server.
        only_if_better: Whether a champion that is as good stays, and the run fails.
        best_effort: Whether a model that no trial brought inside latency_limit_ms, size_limit_mb and memory_limit_mb is deployed; else the run fails.
        registry: MLflow tracking and registry URI.
        serving_dir: Folder the server watches.
    """
    data = prepare(
        dataset_path=dataset_path,
        target=target,
        objective=objective,
        test_split=test_split,
        group=group,
        time_column=time_column,
        seed=seed,
    )
    data.set_caching_options(False).set_display_name("Prepare")
    found = automl_tabular(
        dataset=data.outputs["dataset"],
        trials=trials,
        timeout_seconds=search_seconds,
        workers=workers,
        memory_mb=memory_mb,
        metric=metric,
        group=group,
        time_column=time_column,
        latency_limit_ms=latency_limit_ms,
        size_limit_mb=size_limit_mb,
        memory_limit_mb=memory_limit_mb,
        seed=seed,
    ).set_display_name("AutoML")
    both = {"dataset": data.outputs["dataset"], "model": found.outputs["model"]}
    evaluate(**both).set_display_name("Evaluate")
    checked = validate(**both, thresholds=thresholds).set_display_name("Validate")
    served = deploy(
        **both,
        model_name=model_name,
        only_if_better=only_if_better,
        best_effort=best_effort,
        registry=registry,
        serving_dir=serving_dir,
        run_id=dsl.PIPELINE_JOB_ID_PLACEHOLDER,
    ).after(checked)
    served.set_caching_options(False).set_display_name("Deploy")
