"""An exit handler that is told how the tasks it stands behind ended."""

from kfp import dsl

from tests.pipelines.parts import echo, refuse_zero


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def tell(status: dsl.PipelineTaskFinalStatus) -> str:
    return f"{status.pipeline_task_name} {status.state}: {status.error_message}"


@dsl.pipeline(name="exit-handler")
def exit_handler(number: int = 1):
    with dsl.ExitHandler(tell()):
        checked = refuse_zero(number=number)
        echo(text=checked.outputs["out"])
        echo(text="beside")
