"""A step that runs although what comes before it failed, and one that does not."""

from kfp import dsl

from tests.pipelines.parts import echo, fail


@dsl.pipeline(name="cleanup")
def cleanup(text: str = "x"):
    bad = fail(text=text)
    echo(text="never").after(bad)
    echo(text="always").after(bad).ignore_upstream_failure()
