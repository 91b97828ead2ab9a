"""federated_forecaster: one forecaster over regions whose data stay where they are, judged like any other."""

from kfp import dsl, kubernetes

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
    rounds: int = 10,
    local_epochs: int = 1,
    round_seconds: float = 600.0,
    patience: int = 0,
    min_improvement: float = 0.001,
    selection: str = "random",
    fraction: float = 1.0,
    min_clients: int = 2,
    strategy: str = "fedavg",
    weights: str = "examples",
    proximal_mu: float = 0.0,
    server_learning_rate: float = 0.0,
    trim: float = 0.2,
    malicious: int = 0,
    privacy: str = "",
    epsilon: float = 0.0,
    delta: float = 1e-5,
    clip: float = 1.0,
    secure: bool = False,
    update_bits: int = 32,
    update_share: float = 1.0,
    personal_epochs: int = 1,
    compare_own: bool = False,
    compare_central: bool = True,
    clients: int = 10,
    workers: int = 2,
    checkpoint_dir: str = "",
    superlink: str = "",
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
        rounds: Federated rounds at most.
        local_epochs: Passes over its windows that a region makes in a round.
        round_seconds: How long a region has to answer in a round, in seconds.
        patience: Rounds without a better error that end the run; 0: none do.
        min_improvement: Share of the error that counts as better.
        selection: Who takes part in a round: random, size, speed or staleness.
        fraction: Share of the regions present that takes part in a round.
        min_clients: Regions that must take part in a round and answer.
        strategy: fedavg, fedprox, fedadam, fedyogi, trimmed_mean or krum.
        weights: What an answer weighs by: examples, or equal.
        proximal_mu: Weight of FedProx' term.
        server_learning_rate: Of FedAdam and FedYogi; 0: what suits each.
        trim: Share that the trimmed mean cuts off on either side.
        malicious: Lying regions that Krum bears.
        privacy: Differential privacy: central, local, or empty for none.
        epsilon: What privacy the whole run may spend.
        delta: Chance that epsilon does not hold.
        clip: Largest norm of an update under privacy.
        secure: Secure aggregation: the server sees sums alone.
        update_bits: Bits of each value of an update: 32, 16 or 8.
        update_share: Share of an update's values that is sent, the largest.
        personal_epochs: Passes by which each region fits the final model to itself, to compare; 0: none.
        compare_own: Whether each region trains a model alone, too, to compare.
        compare_central: Whether one is trained on all windows, too, to compare.
        clients: Groups of VMs where the data name no regions.
        workers: Processes that the simulated regions share.
        checkpoint_dir: Folder that a run which died goes on from; empty: none.
        superlink: HOST:PORT of the link of real regions (fleetml federation link); empty: the regions of the data, simulated.
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
        round_seconds=round_seconds,
        patience=patience,
        min_improvement=min_improvement,
        selection=selection,
        fraction=fraction,
        min_clients=min_clients,
        strategy=strategy,
        weights=weights,
        proximal_mu=proximal_mu,
        server_learning_rate=server_learning_rate,
        trim=trim,
        malicious=malicious,
        privacy=privacy,
        epsilon=epsilon,
        delta=delta,
        clip=clip,
        secure=secure,
        update_bits=update_bits,
        update_share=update_share,
        personal_epochs=personal_epochs,
        compare_own=compare_own,
        compare_central=compare_central,
        clients=clients,
        workers=workers,
        checkpoint_dir=checkpoint_dir,
        superlink=superlink,
        seed=seed,
    ).set_display_name("Federated rounds")
    # Real regions have other data tomorrow
    learnt.set_caching_options(False)
    kubernetes.use_secret_as_env(
        learnt,
        secret_name="federation",  # noqa: S106 - its name
        secret_key_to_env={"driver": "FLEETML_FEDERATION_DRIVER", "authority": "FLEETML_FEDERATION_AUTHORITY"},
        optional=True,
    )
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
            results=dsl.PIPELINE_ROOT_PLACEHOLDER,
        )
        registered.set_caching_options(False).set_display_name("Register")
