"""transfer_forecaster: the fleet's forecaster for a region or class of VMs of which there are few data, registered if it is better."""

from kfp import dsl

from components.evaluate.component import evaluate_transferred, gate_transferred
from components.features.component import features
from components.ingest.component import ingest
from components.register.component import champion, register
from components.train.component import train_network
from components.transfer.component import transfer
from components.validate.component import validate


@dsl.pipeline(name="transfer-forecaster", display_name="Transfer the fleet's forecaster")
def transfer_forecaster(
    source: str = "",
    mapping: str = "",
    target: str = "bandwidth",
    window_days: int = 8,
    window_end: str = "",
    horizon: int = 48,
    context: int = 288,
    test_windows: int = 2,
    max_windows: int = 4000,
    fleet_model: str = "bandwidth",
    modes: list = ["all", "head", "adapter"],  # noqa: B006 - kfp reads the default when it compiles
    epochs: int = 12,
    family: str = "tcn",
    processes: int = 1,
    checkpoint_dir: str = "",
    latency_budget_ms: float = 5.0,
    size_budget_mb: float = 20.0,
    memory_budget_mb: float = 0.0,
    energy_budget_wh: float = 0.0,
    seed: int = 0,
    model_name: str = "bandwidth-region",
    registry: str = "",
):
    """Train the fleet's network further, judge it beside one from scratch and the naive forecasts, register the best if it is better.

    Args:
        source: Where the metrics of the region's VMs are; empty: the synthetic fleet.
        mapping: YAML file that maps the source's columns to the canonical table.
        target: What is forecast, that of the fleet's model: bandwidth, cpu, or any feature.
        window_days: Days of data a run covers.
        window_end: End of the window, ISO 8601 UTC; empty: the end of the data.
        horizon: Steps of five minutes to forecast, as many as the fleet's model does.
        context: Steps of five minutes a forecast may look back, as many as the fleet's model does.
        test_windows: Held-out windows per VM, each one horizon long, at the end of the data; as many before them choose.
        max_windows: Training windows sampled at most.
        fleet_model: Name of the fleet's model in the registry, a network; its champion is transferred.
        modes: Which weights may move: all, head, adapter; each is tried.
        epochs: Passes over the windows.
        family: Network that is trained on the region alone, to compare.
        processes: Processes that train it.
        checkpoint_dir: Folder, an absolute path, of its checkpoints: a training that was killed goes on; empty: none.
        latency_budget_ms: Longest p99 latency of one forecast the gate admits, in milliseconds.
        size_budget_mb: Largest graph the gate admits, in megabytes.
        memory_budget_mb: Most memory of a graph, loaded and asked one row, that the gate admits, in megabytes; 0: any.
        energy_budget_wh: Most energy of a thousand predictions that the gate admits, in watt-hours, by the power model (docs/costs.md); 0: any.
        seed: Seed of every random choice.
        model_name: Name in the registry; nothing serves it, so it is not the name of a served model.
        registry: MLflow tracking and registry URI.
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
    split = {"train": made.outputs["train"], "val": made.outputs["val"]}
    fleet = champion(registry=registry, model_name=fleet_model)
    fleet.set_caching_options(False).set_display_name("The fleet's model")
    moved = transfer(model=fleet.outputs["model"], **split, modes=modes, epochs=epochs, seed=seed)
    moved.set_display_name("Transfer")
    alone = train_network(
        **split, family=family, processes=processes, epochs=epochs, checkpoint_dir=checkpoint_dir, seed=seed
    ).set_display_name("Train from scratch")
    reigning = champion(registry=registry, model_name=model_name)
    reigning.set_caching_options(False).set_display_name("Champion")
    models = {
        "transferred_model": moved.outputs["transferred"],
        "scratch_model": alone.outputs["model"],
        "champion_model": reigning.outputs["model"],
    }
    judged = evaluate_transferred(test=made.outputs["test"], champion_version=reigning.outputs["version"], **models)
    judged.set_display_name("Evaluate")
    decision = gate_transferred(
        scores=judged.outputs["scores"],
        test=made.outputs["test"],
        champion_version=reigning.outputs["version"],
        latency_budget_ms=latency_budget_ms,
        size_budget_mb=size_budget_mb,
        memory_budget_mb=memory_budget_mb,
        energy_budget_wh=energy_budget_wh,
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
        )
        registered.set_caching_options(False).set_display_name("Register")
