"""A step that others follow, and that fails as often as it is told."""

from kfp import dsl
from parts import stumble, twice


@dsl.pipeline(name="trouble")
def trouble(folder: str, times: int = 1):
    first = twice(n=times)
    bad = stumble(folder=folder, times=times).after(first).set_caching_options(False)
    twice(n=bad.outputs["result"])
