"""Is started by an event of drift, or by its schedule."""

from kfp import dsl
from parts import twice


@dsl.pipeline(name="react")
def react(drift: dict, end: str = ""):
    twice(n=1)
