"""train_window_anomaly: from VM metrics in time to a served detector of anomalies in time, gated like the others."""

from kfp import dsl

from components.deploy.component import deploy
from components.evaluate.component import gate_window_anomaly, judge_window_anomaly
from components.features.component import series
from components.ingest.component import ingest
from components.register.component import champion, register
from components.train.component import train_window_anomaly as train_detector
from components.validate.component import validate_series


@dsl.pipeline(name="train-window-anomaly", display_name="Train the detector of anomalies in time")
def train_window_anomaly(
    source: str = "",
    mapping: str = "",
    window_days: int = 30,
    window_end: str = "",
    vm: str = "",
    max_rows: int = 60000,
    metric: str = "",
    steps: int = 12,
    smooth: int = 10,
    trim: float = 0.0,
    false_alarms_per_vm_week: float = 50.0,
    latency_budget_ms: float = 50.0,
    size_budget_mb: float = 5.0,
    memory_budget_mb: float = 0.0,
    energy_budget_wh: float = 0.0,
    seed: int = 0,
    model_name: str = "window_anomaly",
    other_inputs: bool = False,
    rollout: str = "",
    registry: str = "",
    serving_dir: str = "",
    serving_address: str = "",
):
    """Fit a detector to the last steps of a VM, or of a fleet, judge it on incidents, and deploy it if it beats the champion.

    Args:
        source: Where the VM metrics are: a file, folder, fsspec URL, prometheus+http:// address; empty: the synthetic fleet.
        mapping: YAML file that maps the source's columns to the canonical table; empty: recognised by its columns.
        window_days: Days of data a run covers.
        window_end: End of the window, ISO 8601 UTC; empty: the end of the data.
        vm: The VM it is for; empty: one detector for all of the fleet.
        max_rows: Steps of five minutes learnt from and judged on at most, of whole VMs drawn at random.
        metric: The only one that is looked at, and for novelty, without fitting (it takes 1536 steps); empty: all of them.
        steps: Rows of a window.
        smooth: Windows that a score is the mean of.
        trim: Share of the windows that may be anomalies already.
        false_alarms_per_vm_week: Most alarms a week and VM, on held-out series as they are, that the gate admits; 0: any.
        latency_budget_ms: Longest p99 latency of one answer the gate admits, in milliseconds.
        size_budget_mb: Largest graph the gate admits, in megabytes.
        memory_budget_mb: Most memory of a graph, loaded and asked one row, that the gate admits, in megabytes; 0: any.
        energy_budget_wh: Most energy of a thousand predictions that the gate admits, in watt-hours, by the power model (docs/costs.md); 0: any.
        seed: Seed of every random choice.
        model_name: Name it is registered and served under: of a VM or a metric one of its own, beside the fleet's.
        other_inputs: Whether it may take over from a champion that takes other inputs or metrics, or is for another VM.
        rollout: canary, ab or shadow: a version that passes the gate is tried beside the champion; empty: it serves at once.
        registry: MLflow tracking and registry URI.
        serving_dir: Folder the server watches.
        serving_address: host:port of the gRPC server; empty: none runs.
    """
    raw = ingest(source=source, mapping=mapping, window_days=window_days, window_end=window_end)
    raw.set_caching_options(False).set_display_name("Ingest")
    valid = validate_series(data=raw.outputs["data"], metric=metric).set_display_name("Validate")
    made = series(data=valid.outputs["valid"], vm=vm, metric=metric, max_rows=max_rows, seed=seed).set_display_name(
        "Features"
    )
    trained = train_detector(train=made.outputs["train"], metric=metric, steps=steps, smooth=smooth, trim=trim)
    trained.set_display_name("Train")
    reigning = champion(registry=registry, model_name=model_name)
    reigning.set_caching_options(False).set_display_name("Champion")

    models = {"trained_model": trained.outputs["model"], "champion_model": reigning.outputs["model"]}
    judged = judge_window_anomaly(test=made.outputs["test"], champion_version=reigning.outputs["version"], **models)
    judged.set_display_name("Evaluate")
    decision = gate_window_anomaly(
        scores=judged.outputs["scores"],
        test=made.outputs["test"],
        champion_version=reigning.outputs["version"],
        latency_budget_ms=latency_budget_ms,
        size_budget_mb=size_budget_mb,
        memory_budget_mb=memory_budget_mb,
        energy_budget_wh=energy_budget_wh,
        other_inputs=other_inputs,
        false_alarms_per_vm_week=false_alarms_per_vm_week,
        **models,
    ).set_display_name("Gate")

    with dsl.If(decision.outputs["promote"] == True, name="promote"):  # noqa: E712 - kfp builds the condition from ==
        registered = register(
            model=decision.outputs["model"],
            scores=judged.outputs["scores"],
            data=valid.outputs["valid"],
            train=made.outputs["train"],
            registry=registry,
            model_name=model_name,
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
            model_name=model_name,
            serving_dir=serving_dir,
            address=serving_address,
            registry=registry,
            rollout=rollout,
        )
        served.set_caching_options(False).set_display_name("Deploy")
