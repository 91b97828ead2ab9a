"""Two steps, one after the other, one of them in a sub-pipeline; parameters of several types."""

from typing import NamedTuple

from kfp import dsl
from parts import twice


@dsl.pipeline
def inside(n: int) -> int:
    return twice(n=n).outputs["result"]


class Doubled(NamedTuple):
    result: int


@dsl.pipeline(name="double")
def double(
    needed: int,
    word: str = "w",
    ratio: float = 0.5,
    flag: bool = True,
    items: list = [1],  # noqa: B006
    table: dict = {},  # noqa: B006
) -> Doubled:
    """Doubles twice.

    Args:
        needed: What is doubled.
    """
    first = twice(n=needed).set_display_name("Double")
    again = inside(n=first.outputs["result"])
    return Doubled(again.output)
