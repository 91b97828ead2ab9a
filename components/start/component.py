"""The KFP edge of start: the engine that runs this step starts the pipeline (docs/adr/0006); there is nothing to execute."""

from kfp import dsl

from components.edge import ML


@dsl.container_component
def start(
    pipeline: str,
    run_id: dsl.OutputPath(str),  # type: ignore[valid-type]
    state: dsl.OutputPath(str),  # type: ignore[valid-type]
    outputs: dsl.OutputPath(dict),  # type: ignore[valid-type]
    parameters: dict = {},  # noqa: B006
    wait: bool = True,
) -> dsl.ContainerSpec:
    """Start the pipeline named `pipeline` on the same engine; unless `wait` is false, fail if it does not succeed.

    `state` is "succeeded", or "running" without waiting; `outputs` are the pipeline's own, artifacts as their uri and digest.
    """
    return dsl.ContainerSpec(
        image=ML,
        command=["python", "-m", "fleetml.start"],
        args=[dsl.PIPELINE_TASK_EXECUTOR_INPUT_PLACEHOLDER],
    )
