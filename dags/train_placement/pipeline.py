"""train_placement: from a cluster's nodes and pods to a served placement policy, gated against the plain ones and the champion."""

from kfp import dsl

from components.automl.component import automl_placement
from components.deploy.component import deploy
from components.evaluate.component import gate_placement, judge_placement
from components.features.component import episodes
from components.ingest.component import ingest_cluster
from components.register.component import champion, register


@dsl.pipeline(name="train-placement", display_name="Train the placement policy")
def train_placement(
    nodes: str = "",
    pods: str = "",
    train_episodes: int = 1,
    test_episodes: int = 10,
    trials: int = 40,
    search_seconds: int = 120,
    latency_budget_ms: float = 5.0,
    size_budget_mb: float = 1.0,
    memory_budget_mb: float = 0.0,
    energy_budget_wh: float = 0.0,
    seed: int = 0,
    rollout: str = "",
    registry: str = "",
    serving_dir: str = "",
    serving_address: str = "",
):
    """Search a placement policy in simulated fillings of the cluster, judge it, and deploy it if it beats the champion.

    Args:
        nodes: CSV or Parquet of the nodes (name, cpu_milli, memory_mib, gpu, model), or cluster://?nodes=160&seed=7; empty: synthetic.
        pods: CSV or Parquet of the pods (name, cpu_milli, memory_mib, num_gpu, gpu_milli, gpu_spec); empty with synthetic nodes.
        train_episodes: Orders of arrival that the search fills the cluster with.
        test_episodes: Held-out orders of arrival that all candidates are judged in.
        trials: Policies tried.
        search_seconds: Wall-clock budget of the search in seconds.
        latency_budget_ms: Longest p99 latency of scoring a candidate that the gate admits, in milliseconds.
        size_budget_mb: Largest graph the gate admits, in megabytes.
        memory_budget_mb: Most memory of a graph, loaded and asked one row, that the gate admits, in megabytes; 0: any.
        energy_budget_wh: Most energy of a thousand predictions that the gate admits, in watt-hours, by the power model (docs/costs.md); 0: any.
        seed: Seed of every random choice.
        rollout: canary, ab or shadow: a version that passes the gate is tried beside the champion; empty: it serves at once.
        registry: MLflow tracking and registry URI.
        serving_dir: Folder the server watches.
        serving_address: host:port of the gRPC server; empty: none runs.
    """
    raw = ingest_cluster(nodes=nodes, pods=pods).set_caching_options(False).set_display_name("Ingest")
    made = episodes(
        data=raw.outputs["data"], train_episodes=train_episodes, test_episodes=test_episodes, seed=seed
    ).set_display_name("Features")
    found = automl_placement(
        train=made.outputs["train"], trials=trials, timeout_seconds=search_seconds, seed=seed
    ).set_display_name("AutoML")
    reigning = champion(registry=registry, model_name="placement")
    reigning.set_caching_options(False).set_display_name("Champion")

    models = {"automl_model": found.outputs["model"], "champion_model": reigning.outputs["model"]}
    judged = judge_placement(test=made.outputs["test"], champion_version=reigning.outputs["version"], **models)
    judged.set_display_name("Evaluate")
    decision = gate_placement(
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
            data=raw.outputs["data"],
            train=made.outputs["train"],
            registry=registry,
            model_name="placement",
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
            model_name="placement",
            serving_dir=serving_dir,
            address=serving_address,
            registry=registry,
            rollout=rollout,
        )
        served.set_caching_options(False).set_display_name("Deploy")
