"""What every KFP edge shares: the container that runs a plain function of this repository."""

from kfp import dsl

ML = "fleetml/ml"


def step(entry: str, image: str = ML) -> dsl.ContainerSpec:
    """Return the container that calls ``module:function`` with the step's executor input.

    `image` is a logical name of the table in ``images/images.toml``.
    """
    return dsl.ContainerSpec(
        image=image,
        command=["python", "-m", "fleetml.component", entry],
        args=[dsl.PIPELINE_TASK_EXECUTOR_INPUT_PLACEHOLDER],
    )
