"""A loop over a list that only the run makes; one iteration of it fails as often as it is told."""

from kfp import dsl
from parts import listed, stumble_at, visit


@dsl.pipeline(name="spread")
def spread(folder: str, times: int = 1):
    with dsl.ParallelFor(listed(count=3).outputs["numbers"]) as number:
        seen = visit(folder=folder, number=number).set_caching_options(False)
        stumble_at(folder=folder, number=seen.outputs["result"], times=times).set_caching_options(False)
