"""An exit handler that asks for the final status: valid, and not run yet."""

from kfp import dsl

from tests.pipelines.parts import echo


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def tell(status: dsl.PipelineTaskFinalStatus):
    print(status.state)


@dsl.pipeline(name="exit-handler")
def exit_handler():
    with dsl.ExitHandler(tell()):
        echo(text="x")
