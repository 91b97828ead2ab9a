"""A loop with a fan-in: valid, and not run yet."""

from kfp import dsl

from tests.pipelines.parts import echo


@dsl.pipeline(name="loop")
def loop():
    with dsl.ParallelFor(["a", "b"], name="each") as item:
        echo(text=item)
