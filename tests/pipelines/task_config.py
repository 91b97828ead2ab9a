"""A component that takes its own task's settings (dsl.TaskConfig): valid, and not run."""

from kfp import dsl


@dsl.component(
    base_image="python:3.11", install_kfp_package=False, task_config_passthroughs=[dsl.TaskConfigField.RESOURCES]
)
def configured(settings: dsl.TaskConfig) -> str:
    return str(settings)


@dsl.pipeline(name="task-config")
def task_config():
    configured()
