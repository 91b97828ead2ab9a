"""The KFP edges of cost."""

from kfp import dsl

from components.edge import step


@dsl.container_component
def measurements(
    results: dsl.Output[dsl.Dataset],
    metrics: dsl.Output[dsl.Metrics],
    source: str = "",
    prometheus: str = "",
) -> dsl.ContainerSpec:
    """Take in the results files of a folder; what is wrong in them is told and left out."""
    return step("components.cost.measurements:measurements")


@dsl.container_component
def fit_power(
    results: dsl.Input[dsl.Dataset],
    power_model: dsl.Output[dsl.Model],
    metrics: dsl.Output[dsl.Metrics],
    power_kind: str = "auto",
    latest_files: int = 0,
    seed: int = 0,
) -> dsl.ContainerSpec:
    """Fit the power of a workload, the kind of model chosen by leave-one-out."""
    return step("components.cost.fit:fit")


@dsl.container_component
def recommend(
    results: dsl.Input[dsl.Dataset],
    recommendations: dsl.Output[dsl.Artifact],
    report: dsl.Output[dsl.HTML],
    metrics: dsl.Output[dsl.Metrics],
    score: str = "auto",
    top: int = 0,
) -> dsl.ContainerSpec:
    """Rank the scenarios of each output ladder by what they deliver for their energy."""
    return step("components.cost.recommendation:recommend")


@dsl.container_component
def export(
    results: dsl.Input[dsl.Dataset],
    power_model: dsl.Input[dsl.Model],
    recommendations: dsl.Input[dsl.Artifact],
    exported: dsl.Output[dsl.Artifact],
    metrics: dsl.Output[dsl.Metrics],
    exports_dir: str = "",
) -> dsl.ContainerSpec:
    """Write power model, predictions and recommendations where exporters read them."""
    return step("components.cost.export:export")
