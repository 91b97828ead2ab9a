"""federated_forecaster: one forecaster over regions whose data stay where they are, judged like any other."""

from kfp import dsl

from components.evaluate.component import evaluate_federated, gate_federated
from components.features.component import features
from components.federated.component import federated
from components.ingest.component import ingest
from components.register.component import champion, register
from components.validate.component import validate


@dsl.pipeline(name="federated-forecaster", display_name="Train over regions")
def federated_forecaster(
    source: str = "",
    mapping: str = "",
    target: str = "bandwidth",
    window_days: int = 30,
    window_end: str = "",
    rounds: int = 8,
    local_epochs: int = 1,
    clients: int = 3,
    test_windows: int = 6,
    max_windows: int = 4000,
    seed: int = 0,
    model_name: str = "bandwidth-federated",
    registry: str = "",
):
    """Train by federated averaging, judge beside the naive forecasts, register if better.

    Args:
        source: Where the VM metrics are; empty: the synthetic fleet.
        mapping: YAML file that maps the source's columns to the canonical table.
        target: What is forecast: bandwidth, cpu, or any feature.
        window_days: Days of data a run covers.
        window_end: End of the window, ISO 8601 UTC; empty: the end of the data.
        rounds: Federated rounds.
        local_epochs: Passes over its windows that a region makes in a round.
        clients: Groups of VMs where the data name no regions.
        test_windows: Held-out windows per VM.
        max_windows: Training windows sampled at most.
        seed: Seed of every random choice.
        model_name: Name in the registry; nothing serves it, so it is not the name of a served model.
        registry: MLflow tracking and registry URI.
    """
    raw = ingest(source=source, mapping=mapping, window_days=window_days, window_end=window_end)
    raw.set_caching_options(False).set_display_name("Ingest")
    valid = validate(data=raw.outputs["data"], target=target).set_display_name("Validate")
    made = features(
        data=valid.outputs["valid"], target=target, test_windows=test_windows, max_windows=max_windows, seed=seed
    ).set_display_name("Features")
    learnt = federated(
        train=made.outputs["train"],
        val=made.outputs["val"],
        data=valid.outputs["valid"],
        rounds=rounds,
        local_epochs=local_epochs,
        clients=clients,
        seed=seed,
    ).set_display_name("Federated rounds")
    reigning = champion(registry=registry, model_name=model_name)
    reigning.set_caching_options(False).set_display_name("Champion")
    models = {"federated_model": learnt.outputs["model"], "champion_model": reigning.outputs["model"]}
    judged = evaluate_federated(test=made.outputs["test"], champion_version=reigning.outputs["version"], **models)
    judged.set_display_name("Evaluate")
    decision = gate_federated(
        scores=judged.outputs["scores"],
        test=made.outputs["test"],
        champion_version=reigning.outputs["version"],
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
        )
        registered.set_caching_options(False).set_display_name("Register")
