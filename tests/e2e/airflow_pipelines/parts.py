"""Components of the pipelines in this folder; what they do stands in work.py."""

from kfp import dsl


def step(function: str, image: str = "fleetml/ml") -> dsl.ContainerSpec:
    return dsl.ContainerSpec(
        image=image,
        command=["python", "-m", "fleetml.component", f"work:{function}"],
        args=[dsl.PIPELINE_TASK_EXECUTOR_INPUT_PLACEHOLDER],
    )


@dsl.container_component
def twice(n: int, result: dsl.OutputPath(int), metrics: dsl.Output[dsl.Metrics]):
    return step("twice")


@dsl.container_component
def stumble(folder: str, times: int, result: dsl.OutputPath(int)):
    return step("stumble")


@dsl.container_component
def refuse(n: int):
    return step("refuse")


@dsl.container_component
def linger(folder: str):
    return step("linger")


@dsl.container_component
def cling(folder: str, stays: bool):
    return step("cling")


@dsl.container_component
def measure(score: float, drifted: dsl.OutputPath(bool)):
    return step("measure")


@dsl.container_component
def event(score: float, event: dsl.OutputPath(dict)):
    return step("event")


@dsl.container_component
def listed(count: int, numbers: dsl.OutputPath(list)):
    return step("listed")


@dsl.container_component
def visit(folder: str, number: int, result: dsl.OutputPath(int)):
    return step("visit")


@dsl.container_component
def stumble_at(folder: str, number: int, times: int, result: dsl.OutputPath(int)):
    return step("stumble_at")
