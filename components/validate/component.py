"""The KFP edges of validate."""

from kfp import dsl

from components.edge import step


@dsl.container_component
def validate(
    data: dsl.Input[dsl.Dataset],
    valid: dsl.Output[dsl.Dataset],
    report: dsl.Output[dsl.HTML],
    metrics: dsl.Output[dsl.Metrics],
    target: str = "bandwidth",
    context: int = 288,
    horizon: int = 48,
) -> dsl.ContainerSpec:
    """Refuse a table that breaks the canonical schema or is too small to learn from; report on one that holds."""
    return step("components.validate.validate:validate")


@dsl.container_component
def validate_series(
    data: dsl.Input[dsl.Dataset],
    valid: dsl.Output[dsl.Dataset],
    report: dsl.Output[dsl.HTML],
    metrics: dsl.Output[dsl.Metrics],
    metric: str = "",
) -> dsl.ContainerSpec:
    """Refuse a table that breaks the canonical schema or has none of the six metrics, or not this one; one VM will do."""
    return step("components.validate.validate:validate_series")
