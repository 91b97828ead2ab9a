"""A step that does not want to end, and leaves a child."""

from kfp import dsl
from parts import cling


@dsl.pipeline(name="clinging")
def clinging(folder: str, stays: bool):
    cling(folder=folder, stays=stays).set_caching_options(False)
