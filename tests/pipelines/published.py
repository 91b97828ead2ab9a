"""A pipeline with outputs of its own: two parameters, an artifact, and one of a branch that may not run."""

from typing import NamedTuple

from kfp import dsl

from tests.pipelines.parts import count, draw, echo, refuse_zero


class Published(NamedTuple):
    said: str
    numbers: list
    data: dsl.Dataset


@dsl.pipeline(name="published")
def published(word: str, n: int = 2) -> Published:
    refuse_zero(number=n)
    said = echo(text=word)
    with dsl.If(n > 5):
        echo(text="many")
    counted = count(n=n)
    drawn = draw(name=word)
    return Published(said.outputs["out"], counted.outputs["numbers"], drawn.outputs["data"])
