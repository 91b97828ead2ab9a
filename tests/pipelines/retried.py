"""A sub-pipeline with retries: a task in it that states none goes well the second time. What it remembers, it keeps in the workspace."""

from kfp import dsl

from tests.pipelines.parts import echo, fail

_WORKSPACE = dsl.PipelineConfig(workspace=dsl.WorkspaceConfig(size="1Gi"))


@dsl.container_component
def second_time(folder: str, out: dsl.OutputPath(str)):
    code = (
        "import pathlib, sys\n"
        "before = pathlib.Path(sys.argv[2], 'tried')\n"
        "if not before.exists():\n"
        "    before.touch()\n"
        "    sys.exit('the first time')\n"
        "pathlib.Path(sys.argv[1]).write_text('the second time')"
    )
    return dsl.ContainerSpec(image="fleetml/ml", command=["python", "-c", code], args=[out, folder])


@dsl.pipeline(name="inside")
def inside(folder: str, often: bool):
    second_time(folder=folder)
    with dsl.If(often == True):  # noqa: E712
        fail(text="x").set_retry(2)


@dsl.pipeline(name="retried", pipeline_config=_WORKSPACE)
def retried(often: bool = False):
    within = inside(folder=dsl.WORKSPACE_PATH_PLACEHOLDER, often=often).set_retry(1)
    echo(text="after").after(within)
