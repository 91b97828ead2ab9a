"""Is started by the success of another pipeline, with what that one put out."""

from kfp import dsl
from parts import twice


@dsl.pipeline(name="after")
def after(number: int):
    twice(n=number)
