"""cost_model: what measured workloads draw, and which of them deliver most for it."""

from kfp import dsl, kubernetes

from components.cost.component import export, fit_power, measurements, recommend


@dsl.pipeline(name="cost-model", display_name="Model power and cost")
def cost_model(
    source: str = "",
    prometheus: str = "",
    power_kind: str = "auto",
    latest_files: int = 0,
    score: str = "auto",
    top: int = 0,
    exports_dir: str = "",
    seed: int = 0,
):
    """Take in measurements, fit the power model, rank the scenarios, write what exporters read.

    Args:
        source: Folder of test_results_*.json, an absolute path; empty: synthetic ones.
        prometheus: Address of the Prometheus that knows the samples which a file lacks; empty: none is asked.
        power_kind: auto (chosen by leave-one-out), mean, streams, additive, load, interacting.
        latest_files: Results files that the model is fitted on, the latest measured; 0: all.
        score: auto, qoe_efficiency_score, pixels_per_joule, quality_per_watt, throughput_per_watt.
        top: Scenarios of each ladder that are recommended; 0: all, in order.
        exports_dir: Folder for power_model.json, predictions.json and recommendations.json, an absolute path; empty: none.
        seed: Seed of every random choice.
    """
    taken = measurements(source=source, prometheus=prometheus)
    taken.set_caching_options(False).set_display_name("Measurements")
    kubernetes.use_secret_as_env(
        taken,
        secret_name="prometheus",  # noqa: S106 - its name
        secret_key_to_env={"token": "FLEETML_PROMETHEUS_TOKEN"},
        optional=True,
    )
    fitted = fit_power(
        results=taken.outputs["results"], power_kind=power_kind, latest_files=latest_files, seed=seed
    ).set_display_name("Power model")
    ranked = recommend(results=taken.outputs["results"], score=score, top=top).set_display_name("Recommend")
    exported = export(
        results=taken.outputs["results"],
        power_model=fitted.outputs["power_model"],
        recommendations=ranked.outputs["recommendations"],
        exports_dir=exports_dir,
    )
    exported.set_caching_options(False).set_display_name("Export")
