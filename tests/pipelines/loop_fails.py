"""A loop whose first iteration fails: the others go on, what collects them does not run."""

from kfp import dsl

from tests.pipelines.parts import count, echo, refuse_zero, total


@dsl.pipeline(name="loop-fails")
def loop_fails():
    with dsl.ParallelFor(count(n=2).outputs["numbers"]) as number:
        said = refuse_zero(number=number)
        echo(text=said.outputs["out"])
    total(values=dsl.Collected(said.outputs["out"]))
