"""The KFP edge of batch prediction."""

from kfp import dsl

from components.edge import step


@dsl.container_component
def batch_predict(
    model: dsl.Input[dsl.Model],
    test: dsl.Input[dsl.Dataset],
    predictions: dsl.Output[dsl.Dataset],
    metrics: dsl.Output[dsl.Metrics],
    version: str = "",
) -> dsl.ContainerSpec:
    """Forecast every VM from its latest window."""
    return step("components.batch_predict.batch_predict:batch_predict")
