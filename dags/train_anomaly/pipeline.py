"""train_anomaly: from VM metrics to a served anomaly detector small enough for the edge, gated like the others."""

from kfp import dsl

from components.compress.component import compress_anomaly
from components.deploy.component import deploy
from components.drift.component import retrained
from components.evaluate.component import gate_anomaly, judge_anomaly
from components.features.component import samples
from components.ingest.component import ingest
from components.register.component import champion, register
from components.train.component import train_anomaly as train_network
from components.validate.component import validate


@dsl.pipeline(name="train-anomaly", display_name="Train the anomaly detector")
def train_anomaly(
    source: str = "",
    mapping: str = "",
    window_days: int = 30,
    window_end: str = "",
    max_rows: int = 60000,
    width: int = 48,
    epochs: int = 8,
    alarms_per_vm_week: float = 1.0,
    latency_budget_ms: float = 5.0,
    size_budget_mb: float = 0.1,
    memory_budget_mb: float = 0.0,
    energy_budget_wh: float = 0.0,
    max_compression_loss: float = 0.02,
    compress_target_ratio: float = 0.0,
    compress_target_latency_ms: float = 0.0,
    compress_max_operations: int = 0,
    compress_trials: int = 24,
    compress_seconds: float = 60.0,
    compress_precision: str = "int8",
    counted: bool = False,
    trial_memory_mb: int = 4096,
    seed: int = 0,
    reason: str = "",
    drift: dict = {},  # noqa: B006 - kfp reads the default when it compiles
    evidence: dict = {},  # noqa: B006
    rollout: str = "",
    registry: str = "",
    serving_dir: str = "",
    serving_address: str = "",
):
    """Train a detector on the fleet's metrics, compress it, judge it on incidents, and deploy it if it beats the champion.

    Args:
        source: Where the VM metrics are: a file, folder, fsspec URL, prometheus+http:// address; empty: the synthetic fleet.
        mapping: YAML file that maps the source's columns to the canonical table; empty: recognised by its columns.
        window_days: Days of data a run covers.
        window_end: End of the window, ISO 8601 UTC; empty: the end of the data.
        max_rows: Rows of the feature table learnt from at most.
        width: Neurons of each of the two hidden layers.
        epochs: Passes over the rows.
        alarms_per_vm_week: False alarms per VM and week that the threshold admits.
        latency_budget_ms: Longest p99 latency of one answer the gate admits, in milliseconds.
        size_budget_mb: Largest graph the gate admits, in megabytes.
        memory_budget_mb: Most memory of a graph, loaded and asked one row, that the gate admits, in megabytes; 0: any.
        energy_budget_wh: Most energy of a thousand predictions that the gate admits, in watt-hours, by the power model (docs/costs.md); 0: any.
        max_compression_loss: Average precision the compressed graph may lose, as a share of the original's.
        compress_target_ratio: How many times smaller the compressed graph is to be; 0: as small as quantisation makes it.
        compress_target_latency_ms: Longest median of one of its answers on one thread, in milliseconds; 0: any. Not with counted.
        compress_max_operations: Most floating-point operations of one of its answers; 0: any.
        compress_trials: Chains of techniques tried for these three targets, at most.
        compress_seconds: Wall-clock budget of that search in seconds; without a target compression takes seconds.
        compress_precision: What its numbers become: int8, or fp16 for networks on GPUs.
        counted: Whether no clock decides within a trial of compression: the same seed and trials give the same bytes.
        trial_memory_mb: Megabytes that one trial of compression may take beyond the data; 0: any.
        seed: Seed of every random choice.
        reason: Why a retrain event started the run; empty: by schedule or by hand.
        drift: What drifted then: feature names and divergences beyond the usual.
        evidence: What else the event told: the retrain's id, the score.
        rollout: canary, ab or shadow: a version that passes the gate is tried beside the champion; empty: it serves at once.
        registry: MLflow tracking and registry URI.
        serving_dir: Folder the server watches.
        serving_address: host:port of the gRPC server; empty: none runs.
    """
    raw = ingest(source=source, mapping=mapping, window_days=window_days, window_end=window_end)
    raw.set_caching_options(False).set_display_name("Ingest")
    valid = validate(data=raw.outputs["data"], target="cpu", context=1, horizon=1).set_display_name("Validate")
    made = samples(data=valid.outputs["valid"], max_rows=max_rows, seed=seed).set_display_name("Features")
    trained = train_network(
        train=made.outputs["train"],
        val=made.outputs["val"],
        width=width,
        epochs=epochs,
        alarms_per_vm_week=alarms_per_vm_week,
        seed=seed,
    ).set_display_name("Train")
    small = compress_anomaly(
        model=trained.outputs["model"],
        val=made.outputs["val"],
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
    reigning = champion(registry=registry, model_name="anomaly")
    reigning.set_caching_options(False).set_display_name("Champion")

    models = {
        "trained_model": trained.outputs["model"],
        "compressed_model": small.outputs["compressed"],
        "champion_model": reigning.outputs["model"],
    }
    judged = judge_anomaly(test=made.outputs["test"], champion_version=reigning.outputs["version"], **models)
    judged.set_display_name("Evaluate")
    decision = gate_anomaly(
        scores=judged.outputs["scores"],
        test=made.outputs["test"],
        champion_version=reigning.outputs["version"],
        latency_budget_ms=latency_budget_ms,
        size_budget_mb=size_budget_mb,
        memory_budget_mb=memory_budget_mb,
        energy_budget_wh=energy_budget_wh,
        **models,
    ).set_display_name("Gate")

    # Whatever became of it, the next retrain need not wait for this one
    over = retrained(serving_dir=serving_dir, model_name="anomaly", evidence=evidence).after(decision)
    over.ignore_upstream_failure().set_caching_options(False).set_display_name("Retrain is over")

    with dsl.If(decision.outputs["promote"] == True, name="promote"):  # noqa: E712 - kfp builds the condition from ==
        registered = register(
            model=decision.outputs["model"],
            scores=judged.outputs["scores"],
            data=valid.outputs["valid"],
            train=made.outputs["train"],
            registry=registry,
            model_name="anomaly",
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
            model_name="anomaly",
            serving_dir=serving_dir,
            address=serving_address,
            registry=registry,
            rollout=rollout,
        )
        served.set_caching_options(False).set_display_name("Deploy")
