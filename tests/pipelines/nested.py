# ruff: noqa: UP045 - kfp reads Optional[...], not unions
"""Pipelines inside pipelines: defaults, texts made of outputs, order across sub-DAGs, skips inside them."""

from typing import Optional

from kfp import dsl

from tests.pipelines.parts import draw, echo, read


@dsl.pipeline
def inner(label: str = "plain", times: int = 3, data: dsl.Input[dsl.Dataset] = None) -> str:
    first = echo(text=label)
    with dsl.If(times > 5, name="often"):
        echo(text="often")
    return first.outputs["out"]


@dsl.pipeline
def middle(word: str, again: Optional[int] = None) -> str:
    drawn = draw(name=word)
    deep = inner(label=f"<{word}>", times=again, data=drawn.outputs["data"])
    read(data=drawn.outputs["data"]).after(deep)
    return deep.output


@dsl.pipeline(name="nested")
def nested(word: str = "w", times: int = 3) -> str:
    start = echo(text=word)
    one = middle(word=start.outputs["out"])
    two = inner(times=times).after(one)
    last = echo(text=f"{one.output}+{two.output}")
    return last.outputs["out"]
