"""Loops over literals, over what a step makes, in loops, under conditions; what they leave is collected."""

from kfp import dsl

from tests.pipelines.parts import count, draw, echo, join, total


@dsl.pipeline(name="many", display_name="Artifacts of a loop")
def many(names: list):
    with dsl.ParallelFor(names, parallelism=1) as name:
        drawn = draw(name=name)
        with dsl.If(name != "a"):
            echo(text=name)
    join(data=dsl.Collected(drawn.outputs["data"]))


@dsl.pipeline(name="loop")
def loop(n: int = 2):
    with dsl.ParallelFor(["x", "y"], name="each") as item:
        said = echo(text=item)
    total(values=dsl.Collected(said.outputs["out"]))

    counted = count(n=n)
    with dsl.ParallelFor([{"a": "p"}, {"a": "q"}]) as outer:
        echo(text=outer.a)
        with dsl.ParallelFor(counted.outputs["numbers"]) as inner:
            deep = echo(text=inner)
    total(values=dsl.Collected(deep.outputs["out"]))
    many(names=["a", "b"])
