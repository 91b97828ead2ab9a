"""Tells of drift where there is some."""

from kfp import dsl
from parts import event, measure


@dsl.pipeline(name="watch")
def watch(score: float = 0.0):
    found = measure(score=score)
    with dsl.If(found.outputs["drifted"] == True, name="drifted"):  # noqa: E712
        event(score=score).set_caching_options(False).set_display_name("Tell")
