"""A pipeline that starts another by its name, and reads what that one gives."""

from kfp import dsl

from components.start.component import start
from tests.pipelines.parts import echo, total


@dsl.pipeline(name="starts")
def starts(pipeline: str = "published", given: dict = {"word": "w"}, wait: bool = True) -> str:  # noqa: B006
    started = start(pipeline=pipeline, parameters=given, wait=wait)
    echo(text=started.outputs["state"])
    return total(values=[started.outputs["run_id"], started.outputs["outputs"]]).outputs["out"]
