# ruff: noqa: UP045 - kfp reads Optional[...], not unions
"""Parameters and artifacts of every type, defaults, optional inputs, retries, caching, env, resources, labels."""

from typing import Optional

from kfp import dsl

from tests.pipelines.parts import write


@dsl.container_component
def make(
    text: str,
    count: int,
    ratio: float,
    flag: bool,
    items: list,
    settings: dict,
    out: dsl.OutputPath(str),
    number: dsl.OutputPath(int),
    share: dsl.OutputPath(float),
    truth: dsl.OutputPath(bool),
    series: dsl.OutputPath(list),
    table: dsl.OutputPath(dict),
    data: dsl.Output[dsl.Dataset],
    model: dsl.Output[dsl.Model],
    metrics: dsl.Output[dsl.Metrics],
    page: dsl.Output[dsl.HTML],
    note: dsl.Output[dsl.Markdown],
    thing: dsl.Output[dsl.Artifact],
    classes: dsl.Output[dsl.ClassificationMetrics],
    slices: dsl.Output[dsl.SlicedClassificationMetrics],
    prefix: str = "pre",
    suffix: Optional[str] = None,
):
    pairs = [out, text, number, count, share, ratio, truth, flag, series, items, table, settings]
    for artifact in (data, model, metrics, page, note, thing, classes, slices):
        pairs += [artifact.path, "content"]
    spec = write(*pairs)
    spec.args += [
        dsl.ConcatPlaceholder(["--prefix=", prefix]),
        dsl.IfPresentPlaceholder(input_name="suffix", then=["--suffix", suffix], else_=["--no-suffix"]),
        dsl.PIPELINE_TASK_EXECUTOR_INPUT_PLACEHOLDER,
    ]
    return spec


@dsl.container_component
def use(
    model: dsl.Input[dsl.Model],
    anything: dsl.Input[dsl.Artifact],
    out: dsl.OutputPath(str),
    absent: dsl.Input[dsl.Dataset] = None,
):
    spec = write(out, model.path)
    spec.args += [model.uri, anything.path]
    return spec


@dsl.pipeline(name="types", display_name="All types", description="Every type of parameter and artifact.")
def types(
    text: str = "hello",
    count: int = 5,
    ratio: float = 1.5,
    flag: bool = True,
    items: list = [1, 2.5, "x"],  # noqa: B006 - kfp reads the default when it compiles
    settings: dict = {"depth": 3, "rates": [0.1, 2.0]},  # noqa: B006
    nothing: Optional[str] = None,
    cores: str = "250m",
    needed: int = 0,
) -> str:
    """Doc.

    Args:
        text: A text to write.
        count: How often.
    """
    made = make(
        text=f"{text} x{count}", count=count, ratio=ratio, flag=flag, items=items, settings=settings, suffix=nothing
    )
    made.set_display_name("Make them").set_retry(
        3, backoff_duration="30s", backoff_factor=3, backoff_max_duration="120s"
    )
    made.set_cpu_limit("1").set_cpu_request(cores).set_memory_limit("2Gi").set_env_variable("LEVEL", "debug")
    used = use(model=made.outputs["model"], anything=made.outputs["data"]).set_caching_options(False)
    return used.outputs["out"]
