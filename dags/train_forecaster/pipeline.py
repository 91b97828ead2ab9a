"""train_forecaster: from VM metrics to a served forecaster, gated against the champion and the naive forecasts."""

from kfp import dsl

from components.automl.component import automl
from components.batch_predict.component import batch_predict
from components.compress.component import compress
from components.deploy.component import deploy
from components.drift.component import retrained
from components.evaluate.component import evaluate, gate
from components.features.component import features, materialise
from components.hpo.component import hpo
from components.ingest.component import ingest
from components.nas.component import nas
from components.register.component import champion, register
from components.validate.component import validate


@dsl.pipeline(name="train-forecaster", display_name="Train the forecaster")
def train_forecaster(
    source: str = "",
    mapping: str = "",
    target: str = "bandwidth",
    window_days: int = 30,
    window_end: str = "",
    horizon: int = 48,
    context: int = 288,
    test_windows: int = 6,
    max_windows: int = 4000,
    automl_trials: int = 12,
    automl_seconds: int = 40,
    automl_patience: int = 0,
    nas_trials: int = 6,
    nas_seconds: int = 40,
    nas_sampler: str = "auto",
    nas_workers: int = 1,
    nas_patience: int = 0,
    nas_max_parameters: int = 0,
    nas_max_operations: int = 0,
    nas_second_objective: str = "",
    hpo_trials: int = 8,
    hpo_seconds: int = 30,
    hpo_sampler: str = "auto",
    hpo_pruner: str = "median",
    hpo_workers: int = 1,
    hpo_patience: int = 0,
    hpo_max_operations: int = 0,
    study_storage: str = "",
    counted: bool = False,
    trial_memory_mb: int = 4096,
    latency_budget_ms: float = 5.0,
    size_budget_mb: float = 20.0,
    memory_budget_mb: float = 0.0,
    energy_budget_wh: float = 0.0,
    max_compression_loss: float = 0.02,
    compress_target_ratio: float = 0.0,
    compress_target_latency_ms: float = 0.0,
    compress_max_operations: int = 0,
    compress_trials: int = 24,
    compress_seconds: float = 60.0,
    compress_precision: str = "int8",
    seed: int = 0,
    reason: str = "",
    drift: dict = {},  # noqa: B006 - kfp reads the default when it compiles
    evidence: dict = {},  # noqa: B006
    rollout: str = "",
    shorter_horizon: bool = False,
    registry: str = "",
    serving_dir: str = "",
    serving_address: str = "",
    feature_store: str = "",
):
    """Train, search, compress, judge, and deploy the best forecaster if it beats the champion.

    Args:
        source: Where the VM metrics are: a file, folder, fsspec URL, prometheus+http:// address; empty: the synthetic fleet.
        mapping: YAML file that maps the source's columns to the canonical table; empty: recognised by its columns.
        target: What is forecast, and the name of its model: bandwidth (network received + sent), cpu, or any feature.
        window_days: Days of data a run covers.
        window_end: End of the window, ISO 8601 UTC; empty: the end of the data.
        horizon: Steps of five minutes to forecast.
        context: Steps of five minutes a forecast may look back.
        test_windows: Held-out windows per VM, each one horizon long, at the end of the data.
        max_windows: Training windows sampled at most.
        automl_trials: Models tried by AutoML.
        automl_seconds: Wall-clock budget of AutoML in seconds.
        automl_patience: Its trials without a better one that end it; 0: any.
        nas_trials: Architectures tried.
        nas_seconds: Wall-clock budget of the architecture search in seconds.
        nas_sampler: How its architectures are chosen: auto, random, qmc, grid, tpe, gp, gp_ucb, gp_pi, cmaes, nsga2, evolution or reinforce.
        nas_workers: Its trials at a time, each in a process of its own.
        nas_patience: Its trials without a better one that end it; 0: any.
        nas_max_parameters: Most numbers in a network's graph; 0: any.
        nas_max_operations: Most floating-point operations of one forecast; 0: any.
        nas_second_objective: What is made small beside the error: latency or operations; empty: nothing.
        hpo_trials: Settings of the winner tried.
        hpo_seconds: Wall-clock budget of the hyperparameter search in seconds.
        hpo_sampler: How its trials are chosen: auto, random, qmc, grid, tpe, gp, gp_ucb, gp_pi, cmaes, nsga2, evolution or reinforce.
        hpo_pruner: How it ends unpromising trials early: none, median, halving, hyperband or wilcoxon.
        hpo_workers: Its trials at a time, each in a process of its own.
        hpo_patience: Its trials without a better one that end it; 0: any.
        hpo_max_operations: Most floating-point operations of one forecast, in place of the latency that a counted search does not measure; 0: any. With counted alone.
        study_storage: Where both searches are kept, so that one that was killed goes on: absolute path of a journal, or postgresql:// without a password; empty: nowhere.
        counted: Whether no clock decides in searches (of one worker) and compression: the same seed and trials give the same model; seconds end them between trials.
        trial_memory_mb: Megabytes that one trial of a search or of compression may take beyond the data; 0: any.
        latency_budget_ms: Longest p99 latency of one forecast the gate admits, in milliseconds.
        size_budget_mb: Largest graph the gate admits, in megabytes.
        memory_budget_mb: Most memory of a graph, loaded and asked one row, that the gate admits, in megabytes; 0: any.
        energy_budget_wh: Most energy of a thousand predictions that the gate admits, in watt-hours, by the power model (docs/costs.md); 0: any.
        max_compression_loss: Error the compressed graph may lose, as a share of the original's.
        compress_target_ratio: How many times smaller the compressed graph is to be; 0: as small as quantisation makes it.
        compress_target_latency_ms: Longest median of one of its answers on one thread, in milliseconds; 0: any. Not with counted.
        compress_max_operations: Most floating-point operations of one of its answers; 0: any.
        compress_trials: Chains of techniques tried for these three targets, at most.
        compress_seconds: Wall-clock budget of that search in seconds; without a target compression takes seconds.
        compress_precision: What its numbers become: int8, or fp16 for networks on GPUs.
        seed: Seed of every random choice.
        reason: Why a retrain event started the run, drift or accuracy; empty: by schedule or by hand.
        drift: What drifted then: feature names and divergences beyond the usual.
        evidence: What else the event told: the retrain's id, the accuracy and its floor, the score.
        rollout: How a new version takes over from the served one: canary, ab or shadow; empty: at once.
        shorter_horizon: Whether a version may take over that forecasts fewer steps than the served one.
        registry: MLflow tracking and registry URI.
        serving_dir: Folder the server watches.
        serving_address: host:port of the gRPC server; empty: none runs.
        feature_store: Folder of the online feature store.
    """
    raw = ingest(source=source, mapping=mapping, window_days=window_days, window_end=window_end)
    raw.set_caching_options(False).set_display_name("Ingest")
    valid = validate(data=raw.outputs["data"], target=target, context=context, horizon=horizon)
    valid.set_display_name("Validate")
    made = features(
        data=valid.outputs["valid"],
        target=target,
        context=context,
        horizon=horizon,
        test_windows=test_windows,
        max_windows=max_windows,
        seed=seed,
    ).set_display_name("Features")
    stored = materialise(features=made.outputs["features"], store=feature_store)
    stored.set_caching_options(False).set_display_name("Materialise")

    split = {"train": made.outputs["train"], "val": made.outputs["val"]}
    tabular = automl(
        **split,
        trials=automl_trials,
        timeout_seconds=automl_seconds,
        seed=seed,
        patience=automl_patience,
        counted=counted,
        memory_mb=trial_memory_mb,
        latency_limit_ms=latency_budget_ms,
        size_limit_mb=size_budget_mb,
    ).set_display_name("AutoML")
    neural = nas(
        **split,
        trials=nas_trials,
        timeout_seconds=nas_seconds,
        latency_limit_ms=latency_budget_ms,
        seed=seed,
        sampler=nas_sampler,
        second_objective=nas_second_objective,
        max_parameters=nas_max_parameters,
        max_operations=nas_max_operations,
        counted=counted,
        workers=nas_workers,
        patience=nas_patience,
        storage=study_storage,
        memory_mb=trial_memory_mb,
    ).set_display_name("Architecture search")
    tuned = hpo(
        **split,
        automl_model=tabular.outputs["model"],
        automl_single=tabular.outputs["single"],
        nas_model=neural.outputs["model"],
        trials=hpo_trials,
        timeout_seconds=hpo_seconds,
        latency_limit_ms=latency_budget_ms,
        seed=seed,
        sampler=hpo_sampler,
        pruner=hpo_pruner,
        workers=hpo_workers,
        patience=hpo_patience,
        storage=study_storage,
        counted=counted,
        max_operations=hpo_max_operations,
        memory_mb=trial_memory_mb,
    ).set_display_name("Hyperparameter search")
    small = compress(
        model=tuned.outputs["model"],
        **split,
        max_loss=max_compression_loss,
        target_ratio=compress_target_ratio,
        target_latency_ms=compress_target_latency_ms,
        max_operations=compress_max_operations,
        trials=compress_trials,
        seconds=compress_seconds,
        precision=compress_precision,
        seed=seed,
        counted=counted,
        memory_mb=trial_memory_mb,
    ).set_display_name("Compress")
    reigning = champion(registry=registry, model_name=target)
    reigning.set_caching_options(False).set_display_name("Champion")

    models = {
        "automl_model": tabular.outputs["model"],
        "nas_model": neural.outputs["model"],
        "hpo_model": tuned.outputs["model"],
        "compressed_model": small.outputs["compressed"],
        "champion_model": reigning.outputs["model"],
    }
    judged = evaluate(test=made.outputs["test"], champion_version=reigning.outputs["version"], **models)
    judged.set_display_name("Evaluate")
    decision = gate(
        scores=judged.outputs["scores"],
        test=made.outputs["test"],
        champion_version=reigning.outputs["version"],
        latency_budget_ms=latency_budget_ms,
        size_budget_mb=size_budget_mb,
        memory_budget_mb=memory_budget_mb,
        energy_budget_wh=energy_budget_wh,
        shorter_horizon=shorter_horizon,
        **models,
    ).set_display_name("Gate")
    # Whatever became of it, the next retrain need not wait for this one
    over = retrained(serving_dir=serving_dir, model_name=target, evidence=evidence).after(decision)
    over.ignore_upstream_failure().set_caching_options(False).set_display_name("Retrain is over")

    with dsl.If(decision.outputs["promote"] == True, name="promote"):  # noqa: E712 - kfp builds the condition from ==
        registered = register(
            model=decision.outputs["model"],
            scores=judged.outputs["scores"],
            data=valid.outputs["valid"],
            train=made.outputs["train"],
            registry=registry,
            model_name=target,
            run_id=dsl.PIPELINE_JOB_ID_PLACEHOLDER,
            results=dsl.PIPELINE_ROOT_PLACEHOLDER,
            rollout=rollout,
        )
        registered.set_caching_options(False).set_display_name("Register")
        served = deploy(
            model=decision.outputs["model"],
            test=made.outputs["test"],
            train=made.outputs["train"],
            version=registered.outputs["version"],
            model_name=target,
            serving_dir=serving_dir,
            address=serving_address,
            registry=registry,
            rollout=rollout,
            shorter_horizon=shorter_horizon,
        ).after(stored)
        served.set_caching_options(False).set_display_name("Deploy")
        batch_predict(
            model=decision.outputs["model"], test=made.outputs["test"], version=registered.outputs["version"]
        ).set_display_name("Batch predict")
